/* What the tests of tasks/ share: where data lies, tasks opened once a test. */
#ifndef TESTS_TASKS_SUPPORT_H
#define TESTS_TASKS_SUPPORT_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "tasks/task.h"

static const char *support_path(const char *root_variable, const char *name)
{
    static char path[8][4096];
    static int n;
    const char *root = getenv(root_variable);

    cr_assert_not_null(root, "%s is not set; run by meson test", root_variable);
    n = (n + 1) % 8;
    snprintf(path[n], sizeof(path[n]), "%s/%s", root, name);
    return path[n];
}

/* Folder of the real data sets, or NULL. */
static inline const char *support_data_dir(void)
{
    const char *dir = getenv("DESBENCH_DATA");

    if (!dir)
        dir = support_path("DESBENCH_SOURCE", "../shared/data");
    return file_is_dir(dir) ? dir : NULL;
}

/* Open a task: a bundled one, or a real one with data; otherwise the test is skipped. */
static inline struct task *support_open(const char *name)
{
    const struct task_def *def = task_find(name);
    const char *dir;
    struct task *t = NULL;
    struct error err = { 0 };

    cr_assert_not_null(def, "no task '%s'", name);
    dir = def->is_bundled ? support_path("DESBENCH_SOURCE", "tasks") : support_data_dir();
    if (!dir)
        cr_skip_test("no data folder: set DESBENCH_DATA");
    cr_assert_eq(task_open(def, dir, true, &t, &err), ST_OK, "%s", err.text);
    return t;
}

static inline size_t support_index(const struct task *t, const char *id)
{
    size_t index = 0;

    cr_assert(task_find_item(t, id, &index), "no item '%s'", id);
    return index;
}

/* A JSON file below tests/data. */
static inline json_t *support_json(const char *name)
{
    json_t *v = NULL;
    struct error err = { 0 };

    cr_assert_eq(json_read(support_path("DESBENCH_TESTS", name), 1 << 24, &v, &err), ST_OK, "%s",
                 err.text);
    return v;
}

#endif
