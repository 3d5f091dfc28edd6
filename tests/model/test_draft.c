// SPDX-License-Identifier: MIT
/* draft_lookup(): which earlier place a draft is taken from, and what it holds. Tokens are letters here. */
#include <string.h>

#include "draft.h"
#include "tap.h"

#define ROOM 64

/* Does the text go on with this draft? "" for none. */
static int drafts(const char *text, uint32_t max, const char *expected)
{
	uint32_t count = (uint32_t)strlen(text), n;
	int32_t tokens[ROOM];
	int same;

	memset(tokens, 0, sizeof(tokens));
	for (uint32_t i = 0; i < count; i++)
		tokens[i] = text[i];
	n = draft_lookup(tokens, count, max);
	same = n == strlen(expected);
	for (uint32_t i = 0; i < n && same; i++)
		same = tokens[count + i] == expected[i];
	for (uint32_t i = 0; i < count; i++)
		same = same && tokens[i] == text[i];
	for (uint32_t i = count + n; i < ROOM; i++)
		same = same && !tokens[i];
	if (!same)
		tap_diag("'%s', %u at most: %u tokens, '%s' was expected", text, max, n, expected);
	return same;
}

int main(void)
{
	tap_ok(drafts("abcdefgabc", 4, "defg"), "what followed the last three tokens is the draft");
	tap_ok(drafts("abcxbcyzwabc", 2, "xb"), "a longer match goes before a later one");
	tap_ok(drafts("qbcxyzrbc", 3, "xyz") && drafts("cxyzc", 2, "xy"), "two tokens will do, and one");
	tap_ok(drafts("abcx--abcy--abc", 2, "y-"), "of equal matches the latest counts");
	tap_ok(drafts("zabab", 5, "ababa") && drafts("aa", 3, "aaa"), "a draft runs into itself");
	tap_ok(drafts("abcdef", 4, "") && drafts("a", 4, ""), "nothing repeats: no draft");
	tap_ok(drafts("abcabc", 0, "") && drafts("", 4, ""), "no room, or no text: no draft");
	return tap_done();
}
