// SPDX-License-Identifier: MIT
/* Reading a text; see text.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"
#include "text.h"

char *text_read(const char *path, size_t *bytes)
{
	FILE *file = fopen(path, "rb");
	struct stat st = {0};
	char *text = NULL;
	long size = -1;

	*bytes = 0;
	if (file && !fstat(fileno(file), &st) && !S_ISREG(st.st_mode)) {
		fail("%s: not a regular file", path);
		fclose(file);
		return NULL;
	}
	if (file && !fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0 && !fseek(file, 0, SEEK_SET))
		text = malloc((size_t)size + 1);
	if (!text || fread(text, 1, (size_t)size, file) != (size_t)size) {
		fail("%s: %s", path, errno ? strerror(errno) : "cannot be read");
		free(text);
		text = NULL;
	}
	if (file)
		fclose(file);
	*bytes = size > 0 ? (size_t)size : 0;
	return text;
}
