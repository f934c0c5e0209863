/*
 * Pre-tokenizer: cut text into the pieces within which BPE merges, as the Ling / LLaDA-MoE /
 * LLaDA2 tokenizers do by regular expression.
 *
 *     '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*
 *     |\s*[\r\n]|\s+(?!\S)|\s+
 *
 * A hand-written scanner: the alternatives need one character of look-ahead at most, so it runs
 * in linear time on any input, where a backtracking matcher has limits to run into.
 *
 * Letters and numbers are the general categories L and N of Unicode 16, white space is the
 * property White_Space, as in Oniguruma, which Hugging Face tokenizers match with.
 */
#ifndef ENGINE_PRETOKENIZE_H
#define ENGINE_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is this text, found in a tokenizer.json, the expression above or one that cuts alike? */
bool pretokenize_is_known_regex(const char *regex);

/* Bytes, >= 1, of the first piece of s: valid UTF-8, len >= 1. Together the pieces are s. */
size_t pretokenize_next(const char *s, size_t len);

/* The classes it goes by; c is a code point. */
bool unicode_is_letter(uint32_t c);
bool unicode_is_number(uint32_t c);
bool unicode_is_space(uint32_t c);

/* \w of Rust's regex crate (UTS 18, annex C), which decides on single_word added tokens. */
bool unicode_is_word(uint32_t c);

#endif
