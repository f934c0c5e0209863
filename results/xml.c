/* Outside text in XML and HTML. */
#include "results/xml.h"

#include <string.h>

#include "base/utf8.h"

static void put_text(struct buf *b, const char *s, bool has_lines)
{
    uint32_t c;
    int n;

    for (size_t len = strlen(s); len; s += n, len -= (size_t)n) {
        n = utf8_decode(s, len, &c);
        if (n && c == '\n' && has_lines) {
            buf_putc(b, '\n');
        } else if (!n || c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xfffe || c == 0xffff) {
            n = n ? n : 1;
            buf_putc(b, '?');
        } else if (c < 0x80 && strchr("<>&\"'", (int)c)) {
            buf_printf(b, "&#%u;", (unsigned)c);
        } else {
            buf_append(b, s, (size_t)n);
        }
    }
}

void xml_put_text(struct buf *b, const char *s)
{
    put_text(b, s, false);
}

void xml_put_lines(struct buf *b, const char *s)
{
    put_text(b, s, true);
}
