/*
 * Outside text in XML and HTML.
 */
#ifndef RESULTS_XML_H
#define RESULTS_XML_H

#include "base/buf.h"

/*
 * Append text for an element or a quoted attribute: <, >, &, " and ' as character references;
 * '?' for what XML 1.0 has no place for: control characters, each byte that is not part of valid
 * UTF-8, U+FFFE and U+FFFF.
 */
void xml_put_text(struct buf *b, const char *s);

/* The same, line breaks kept. */
void xml_put_lines(struct buf *b, const char *s);

#endif
