/* The reference solutions of HumanEval, where the data is there. */
#ifndef TESTS_HARNESS_JUDGE_REFERENCES_H
#define TESTS_HARNESS_JUDGE_REFERENCES_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

struct reference {
    uint64_t number;
    const char *prompt, *entry_point;
    const char *code, *tests; /* to be run one behind the other */
};

/* Call f for all of them; or skip the test. Returns their number. */
static inline size_t for_each_reference(void (*f)(void *arg, const struct reference *ref),
                                        void *arg)
{
    const char *dir = getenv("DESBENCH_DATA");
    struct buf packed = { 0 }, text = { 0 };
    struct error err;
    char path[4096];
    size_t n = 0;

    if (dir)
        snprintf(path, sizeof(path), "%s/HumanEval.jsonl.gz", dir);
    else
        snprintf(path, sizeof(path), "%s/../shared/data/HumanEval.jsonl.gz",
                 getenv("DESBENCH_SOURCE") ? getenv("DESBENCH_SOURCE") : ".");
    if (file_read(path, 1 << 20, &packed, &err) != ST_OK)
        cr_skip_test("%s", err.text);
    cr_assert(file_gunzip(packed.data, packed.len, path, 16 << 20, &text, &err) == ST_OK, "%s",
              err.text);
    for (char *p = text.data, *end; p && *p; p = end ? end + 1 : NULL) {
        struct buf code = { 0 }, tests = { 0 };
        const char *solution, *test;
        struct reference ref;
        json_t *item = NULL;

        end = strchr(p, '\n');
        cr_assert(json_parse(p, end ? (size_t)(end - p) : strlen(p), path, n + 1, &item, &err) ==
                      ST_OK,
                  "%s", err.text);
        cr_assert(json_unpack(item, "{s:s, s:s, s:s, s:s}", "prompt", &ref.prompt,
                              "canonical_solution", &solution, "test", &test, "entry_point",
                              &ref.entry_point) == 0);
        buf_printf(&code, "%s%s", ref.prompt, solution);
        buf_printf(&tests, "%s\ncheck(%s)\n", test, ref.entry_point);
        ref.number = n++;
        ref.code = buf_str(&code);
        ref.tests = buf_str(&tests);
        f(arg, &ref);
        buf_release(&code);
        buf_release(&tests);
        json_decref(item);
    }
    cr_expect(n == 164, "%zu programs", n);
    buf_release(&packed);
    buf_release(&text);
    return n;
}

#endif
