/*
 * Answers: equality is symmetric, and reflexive for what equals anything; extraction gives a piece
 * of text, the same each time, which equals itself.
 *
 * The input: an answer, a newline, another answer. Both together are also an output to extract
 * from.
 */
#include <string.h>

#include "tasks/task.h"
#include "tests/fuzz/fuzz.h"

static bool equal(const struct task_def *def, const char *a, size_t a_len, const char *b,
                  size_t b_len)
{
    struct error err = { 0 };
    bool is_equal = false;

    REQUIRE(task_equal(def, a, a_len, b, b_len, &is_equal, &err) == ST_OK);
    return is_equal;
}

static void check_pair(const struct task_def *def, const char *a, size_t a_len, const char *b,
                       size_t b_len)
{
    bool is_equal = equal(def, a, a_len, b, b_len);

    REQUIRE(equal(def, b, b_len, a, a_len) == is_equal);
    if (is_equal)
        REQUIRE(equal(def, a, a_len, a, a_len) && equal(def, b, b_len, b, b_len));
}

static void check_extraction(const struct task_def *def, const char *text, size_t len)
{
    struct arena arena = { 0 };
    struct error err = { 0 };
    struct extraction x, again;

    REQUIRE(task_extract_answer(def, NULL, text, len, &arena, &x, &err) == ST_OK);
    REQUIRE(task_extract_answer(def, NULL, text, len, &arena, &again, &err) == ST_OK);
    REQUIRE(!x.text == !again.text && x.method == again.method);
    if (x.text) {
        /* a quotient becomes a decimal, 1/3 of 18 bytes */
        REQUIRE(x.len > 0 && x.len <= len + 24 && x.text[x.len] == '\0' && x.method);
        REQUIRE(x.len == again.len && memcmp(x.text, again.text, x.len) == 0);
        if (strcmp(def->name, "gsm8k") == 0) /* a number, which equals itself */
            REQUIRE(equal(def, x.text, x.len, x.text, x.len));
    }
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct task_def *math, *gsm8k;
    const char *a = (const char *)data, *split = len ? memchr(a, '\n', len) : NULL;
    const char *b = split ? split + 1 : a + len;
    size_t a_len = split ? (size_t)(split - a) : len, b_len = len - (size_t)(b - a);

    if (!math) {
        math = task_find("math500");
        gsm8k = task_find("gsm8k");
    }
    check_pair(math, a, a_len, b, b_len);
    check_pair(gsm8k, a, a_len, b, b_len);
    check_extraction(math, a, len);
    check_extraction(gsm8k, a, len);
    return 0;
}
