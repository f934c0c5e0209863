/*
 * Unicode normalization form C (UAX 15), in time that does not depend on how combining marks
 * are piled up: utf8proc_map() sorts them by neighbour swaps, which is quadratic.
 *
 * Hugging Face tokenizers (0.23.3) normalize by the tables of Unicode 9. Marks and composites of
 * later versions, where a text has them decomposed or out of order, so come out in canonical form
 * here and as they were there.
 */
#ifndef ENGINE_TOKENIZER_NFC_H
#define ENGINE_TOKENIZER_NFC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

/* Is s surely in NFC? True when every code point is below U+0300; else it is worth the work. */
bool nfc_is_trivial(const char *s, size_t len);

/* Replace the content of *ret by the NFC of s (valid UTF-8). ST_NOMEM. */
MUST_CHECK enum status nfc_normalize(const char *s, size_t len, struct buf *ret, struct error *err);

#endif
