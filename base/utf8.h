/*
 * UTF-8: validation and decoding of outside text.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * Decode the sequence at s (len >= 1 bytes). Returns its length 1 .. 4 and the code point in
 * *ret, or 0 if it is not valid (overlong, surrogate, above 0x10ffff, truncated, stray byte).
 */
int utf8_decode(const char *s, size_t len, uint32_t *ret);

/* Offset of the first byte that does not start a valid sequence; len if all is valid. */
size_t utf8_check(const char *s, size_t len);

/* Where the byte at offset is in a text of len bytes: its line, and its column in characters, both
 * from 1. */
void utf8_place(const char *s, size_t len, size_t offset, int *ret_line, int *ret_column);

/*
 * Make a text safe on a terminal and one line, in place: every byte of a control character
 * (U+0000 .. U+001F but the NUL at the end, U+007F .. U+009F) and every byte that is not part of
 * valid UTF-8 becomes '?'.
 */
void utf8_make_visible(char *s);

#endif
