/* Chat template. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/file.h"
#include "engine/tokenizer.h"

static struct engine_message msg(const char *role, const char *text)
{
    return (struct engine_message){ role, text, strlen(text) };
}

static void check(const struct engine_message *msgs, size_t n, const char *want)
{
    struct buf b = { 0 };

    buf_puts(&b, "before:");
    cr_assert_eq(chat_render(msgs, n, &b, NULL), ST_OK);
    cr_expect_eq(strncmp(buf_str(&b), "before:", 7), 0, "it appends");
    cr_expect_str_eq(buf_str(&b) + 7, want);
    buf_release(&b);
}

Test(chat_template, one_user_turn)
{
    struct engine_message m[] = { msg("user", "What is\n1+1?") };

    check(m, 1,
          "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>What is\n1+1?"
          "<|role_end|><role>ASSISTANT</role>");
}

Test(chat_template, a_first_system_message_joins_the_head)
{
    struct engine_message m[] = { msg("system", "Be brief."), msg("user", "Hi") };

    check(m, 2,
          "<role>SYSTEM</role>Be brief.\ndetailed thinking off<|role_end|><role>HUMAN</role>Hi"
          "<|role_end|><role>ASSISTANT</role>");
}

Test(chat_template, later_turns_are_kept_in_order)
{
    struct engine_message m[] = { msg("user", "a"), msg("assistant", "b"), msg("system", "c"),
                                  msg("user", "") };

    check(m, 4,
          "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>a<|role_end|>"
          "<role>ASSISTANT</role>b<|role_end|><role>SYSTEM</role>c<|role_end|>"
          "<role>HUMAN</role><|role_end|><role>ASSISTANT</role>");
}

Test(chat_template, no_messages_leave_head_and_prompt)
{
    check(NULL, 0, "<role>SYSTEM</role>detailed thinking off<|role_end|><role>ASSISTANT</role>");
}

Test(chat_template, a_last_assistant_message_is_left_open)
{
    struct engine_message m[] = { msg("system", "S"), msg("user", "a"), msg("assistant", "b"),
                                  msg("user", "c"), msg("assistant", "\n```python\n") };

    check(m, 5,
          "<role>SYSTEM</role>S\ndetailed thinking off<|role_end|><role>HUMAN</role>a<|role_end|>"
          "<role>ASSISTANT</role>b<|role_end|><role>HUMAN</role>c<|role_end|>"
          "<role>ASSISTANT</role>\n```python\n");
    check(m + 2, 1, "<role>SYSTEM</role>detailed thinking off<|role_end|><role>ASSISTANT</role>b");
    check(m + 2, 2,
          "<role>SYSTEM</role>detailed thinking off<|role_end|><role>ASSISTANT</role>b<|role_end|>"
          "<role>HUMAN</role>c<|role_end|><role>ASSISTANT</role>");
}

/* An empty beginning of an answer is the generation prompt. */
Test(chat_template, an_empty_last_assistant_message_is_the_generation_prompt)
{
    struct engine_message m[] = { msg("user", "a"), msg("assistant", "") };

    check(m, 2,
          "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>a<|role_end|>"
          "<role>ASSISTANT</role>");
}

Test(chat_template, text_may_hold_nul)
{
    struct engine_message m = { "user", "a\0b", 3 };
    struct buf b = { 0 };

    cr_assert_eq(chat_render(&m, 1, &b, NULL), ST_OK);
    cr_assert_not_null(memmem(b.data, b.len, "</role>a\0b<|role_end|>", 22));
    buf_release(&b);
}

Test(chat_template, an_unknown_role_is_named_and_nothing_is_appended)
{
    struct engine_message m[] = { msg("user", "a"), msg("robot", "b") };
    struct buf b = { 0 };
    struct error err = { 0 };

    cr_assert_eq(chat_render(m, 2, &b, &err), ST_INVALID);
    cr_assert_not_null(strstr(err.text, "'robot'"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "message 1"), "%s", err.text);
    cr_assert_eq(b.len, 0);
    buf_release(&b);
}

Test(chat_template, the_hash_changes_only_with_the_template)
{
    char hash[65], again[65];

    chat_template_sha256(hash);
    chat_template_sha256(again);
    cr_assert_str_eq(hash, again);
    /* A new value means that prompts changed: raise ENGINE_RESULTS_VERSION with it. */
    cr_assert_str_eq(hash, "c54a97202989486476bd516ce5e8e43d4b86b487a17dd772d8b34ead1f94ee48");
}
