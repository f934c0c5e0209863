/*
 * Chat template of Ling 2.0, which LLaDA-MoE-Instruct and LLaDA2.x were tuned on, without its
 * tools part.
 *
 *   <role>SYSTEM</role>[SYSTEM TEXT\n]detailed thinking off<|role_end|>
 *   <role>HUMAN</role>TEXT<|role_end|><role>ASSISTANT</role>TEXT<|role_end|> ...
 *   <role>ASSISTANT</role>
 *
 * with nothing in between: no line breaks but the one shown. Only a system message that comes
 * first is part of the head; a later one is a turn like the others. The head is there with no
 * system message, too. A last message of the assistant's is one that the model continues: it is
 * not ended, and no further one is begun (transformers: continue_final_message).
 *
 * Source: chat_template of the public LLaDA-MoE-Instruct and LLaDA2.0 checkpoints.
 */
#include <string.h>

#include "base/file.h"
#include "engine/tokenizer.h"

static const struct {
    const char *role, *head;
} turns[] = {
    { "system", "<role>SYSTEM</role>" },
    { "user", "<role>HUMAN</role>" },
    { "assistant", "<role>ASSISTANT</role>" },
};

static const char turn_end[] = "<|role_end|>";

static const char *turn_head(const char *role)
{
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++)
        if (strcmp(role, turns[i].role) == 0)
            return turns[i].head;
    return NULL;
}

enum status chat_render(const struct engine_message *msgs, size_t n_msgs, struct buf *ret,
                        struct error *err)
{
    bool has_system = n_msgs && strcmp(msgs[0].role, "system") == 0;
    bool is_continued = n_msgs && strcmp(msgs[n_msgs - 1].role, "assistant") == 0;

    for (size_t i = 0; i < n_msgs; i++)
        if (!turn_head(msgs[i].role))
            return error_set(err, ST_INVALID,
                             "message %zu: role must be system, user or assistant, found '%.80s'",
                             i, msgs[i].role);
    buf_puts(ret, turn_head("system"));
    if (has_system) {
        buf_append(ret, msgs[0].text, msgs[0].text_len);
        buf_putc(ret, '\n');
    }
    buf_puts(ret, "detailed thinking off");
    buf_puts(ret, turn_end);
    for (size_t i = has_system ? 1 : 0; i < n_msgs; i++) {
        buf_puts(ret, turn_head(msgs[i].role));
        buf_append(ret, msgs[i].text, msgs[i].text_len);
        if (!is_continued || i + 1 < n_msgs)
            buf_puts(ret, turn_end);
    }
    if (!is_continued)
        buf_puts(ret, turn_head("assistant"));
    return buf_ok(ret) ? ST_OK : error_set(err, ST_NOMEM, "out of memory rendering a chat");
}

/* Two conversations, so that both forms of the head and every role count. */
void chat_template_sha256(char ret[65])
{
    static const struct engine_message msgs[] = {
        { "system", "S", 1 }, { "user", "U", 1 }, { "assistant", "A", 1 },
        { "system", "T", 1 }, { "user", "V", 1 },
    };
    struct buf b = { 0 };

    ret[0] = '\0'; /* stays so when out of memory */
    if (!chat_render(msgs, sizeof(msgs) / sizeof(msgs[0]), &b, NULL) &&
        !chat_render(msgs + 1, 1, &b, NULL) && sha256_hex(b.data, b.len, ret, NULL))
        ret[0] = '\0';
    buf_release(&b);
}
