// SPDX-License-Identifier: MIT
/* Hashes of bytes, files and the running program; see hash.h. xxHash is used from its header alone. */
#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "fail.h"
#include "hash.h"

uint64_t hash_bytes(const void *data, size_t bytes)
{
	return XXH3_64bits(data, bytes);
}

static int hash_open_file(int fd, uint64_t *hash)
{
	struct stat st;
	void *data;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return -1;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return -1;
	*hash = hash_bytes(data, (size_t)st.st_size);
	munmap(data, (size_t)st.st_size);
	return 0;
}

int hash_file(const char *path, uint64_t *hash)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return fail("%s: %s", path, strerror(errno));
	rc = hash_open_file(fd, hash);
	close(fd);
	return rc ? fail("%s: not a readable file with contents", path) : 0;
}

int hash_build(uint64_t *hash)
{
	return hash_file("/proc/self/exe", hash);
}
