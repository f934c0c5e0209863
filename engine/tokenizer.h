/*
 * Tokenizer: the byte-level BPE of the Ling / LLaDA-MoE / LLaDA2 families, read from a Hugging
 * Face tokenizer.json, and the chat template that goes with it.
 *
 * Source: the tokenizer.json format of Hugging Face tokenizers; pre-tokenizer regex and template
 * as in the public LLaDA-MoE and LLaDA2.x checkpoints.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "engine/engine.h"

struct tokenizer;

/* Read tokenizer.json at path. Whatever would change ids and is not known here (normalizer,
 * pre-tokenizer, model or post-processor of another kind) is ST_UNSUPPORTED naming the key. */
MUST_CHECK enum status tokenizer_open(const char *path, struct tokenizer **ret, struct error *err);
void tokenizer_close(struct tokenizer *t); /* accepts NULL */

/* As engine_tokenize() and engine_detokenize(). Safe to call from several threads at once. */
MUST_CHECK enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                                        struct arena *arena, int32_t **ret, size_t *ret_n,
                                        struct error *err);
MUST_CHECK enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n,
                                        bool skip_special, struct buf *ret, struct error *err);

/* Id of an added token by its exact content ("<|mask|>"), or -1. */
int32_t tokenizer_special_id(const struct tokenizer *t, const char *content);

int32_t tokenizer_max_id(const struct tokenizer *t);     /* largest id that has a token */
const char *tokenizer_sha256(const struct tokenizer *t); /* of the file, 64 hex digits */

/* Append the rendered conversation and generation prompt (Ling-2.0 form); a last message of the
 * assistant's is left open instead, for the model to continue. ST_INVALID: a role that is not
 * system, user or assistant. */
MUST_CHECK enum status chat_render(const struct engine_message *msgs, size_t n_msgs,
                                   struct buf *ret, struct error *err);

/* SHA-256 of this renderer's output on a fixed conversation: changes when the template does. */
void chat_template_sha256(char ret[65]);

#endif
