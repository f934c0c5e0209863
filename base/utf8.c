/* UTF-8, as Unicode 15 table 3-7 (well-formed byte sequences) has it. */
#include "base/utf8.h"

#include <string.h>

int utf8_decode(const char *str, size_t len, uint32_t *ret)
{
    const unsigned char *s = (const unsigned char *)str;
    uint32_t c;
    int n;

    if (s[0] < 0x80) {
        *ret = s[0];
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        n = 2;
        c = s[0] & 0x1fu;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        n = 3;
        c = s[0] & 0x0fu;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        n = 4;
        c = s[0] & 0x07u;
    } else {
        return 0;
    }
    if (len < (size_t)n)
        return 0;
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
        (n == 4 && (c < 0x10000 || c > 0x10ffff)))
        return 0;
    *ret = c;
    return n;
}

size_t utf8_check(const char *s, size_t len)
{
    uint32_t c;
    size_t i = 0;

    while (i < len) {
        int n = utf8_decode(s + i, len - i, &c);
        if (!n)
            break;
        i += (size_t)n;
    }
    return i;
}

void utf8_place(const char *s, size_t len, size_t offset, int *ret_line, int *ret_column)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < offset && i < len; i++) {
        if (s[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)s[i] & 0xc0) != 0x80) { /* a character's first byte */
            column++;
        }
    }
    *ret_line = line;
    *ret_column = column;
}

void utf8_make_visible(char *s)
{
    size_t len = strlen(s);

    for (size_t i = 0; i < len;) {
        uint32_t c;
        int n = utf8_decode(s + i, len - i, &c);

        if (!n || c < 0x20 || (c >= 0x7f && c <= 0x9f)) {
            n = n ? n : 1;
            memset(s + i, '?', (size_t)n);
        }
        i += (size_t)n;
    }
}
