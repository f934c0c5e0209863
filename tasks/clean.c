/* Cleaning of generations, the step before every rule: docs/grading.md, "Cleaning". */
#include <stdint.h>
#include <string.h>

#include "tasks/text.h"

/* Tokens that end a turn, as their tokenizers spell them: LLaDA, ChatML, LLaDA2, DeepSeek-Coder,
 * Llama 2. A generation is cut at eos by token id before it becomes text; these catch what was
 * decoded as text all the same. */
static const char *const end_tokens[] = {
    "<|eot_id|>", "<|endoftext|>", "<|im_end|>", "<|role_end|>", "<|EOT|>", "</s>",
};

/* Masks that were left when decoding stopped. */
static const char *const mask_tokens[] = { "<|mdm_mask|>", "<|mask|>" };

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Length of the token of the list that starts at offset i, or 0. */
static size_t token_at(struct span t, size_t i, const char *const *list, size_t n)
{
    if (t.s[i] != '<' || i + 1 == t.len || (t.s[i + 1] != '|' && t.s[i + 1] != '/'))
        return 0; /* so much for most text */
    for (size_t k = 0; k < n; k++)
        if (span_starts(span_sub(t, i, t.len), list[k]))
            return strlen(list[k]);
    return 0;
}

struct span text_cut_at_end_token(struct span output)
{
    for (size_t i = 0; i < output.len; i++)
        if (token_at(output, i, end_tokens, N_OF(end_tokens)))
            return span_sub(output, 0, i);
    return output;
}

enum status text_clean(struct span output, struct arena *arena, struct span *ret, struct error *err)
{
    struct span t = text_cut_at_end_token(output);
    size_t at, n = 0;
    char *d;

    d = t.len < SIZE_MAX ? arena_alloc(arena, t.len + 1) : NULL;
    if (!d)
        return error_set(err, ST_NOMEM, "out of memory cleaning %zu bytes of output", t.len);
    for (size_t i = 0; i < t.len;) {
        size_t mask = token_at(t, i, mask_tokens, N_OF(mask_tokens));

        if (mask) {
            i += mask;
            continue;
        }
        if (t.s[i] == '\r') {
            d[n++] = '\n';
            i += i + 1 < t.len && t.s[i + 1] == '\n' ? 2 : 1;
            continue;
        }
        d[n++] = t.s[i++];
    }
    d[n] = '\0';
    t = (struct span){ d, n };
    if (span_find_last(t, "</think>", &at))
        t = span_sub(t, at + strlen("</think>"), t.len);
    *ret = t;
    return ST_OK;
}
