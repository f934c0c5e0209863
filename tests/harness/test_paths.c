/* Paths: where results go, and what is said of things that are not there. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "harness/paths.h"

static struct arena arena;
static struct error err;
static char dir[] = "/tmp/desbench-paths-XXXXXX";

/* Every case works in a folder of its own. */
static void enter(void)
{
    cr_assert(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
    cr_assert_eq(mkdir("folder.sqlite", 0777), 0);
    fclose(fopen("plain", "w"));
}

static void leave(void)
{
    char command[64];

    arena_release(&arena);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(paths, .init = enter, .fini = leave);

static enum status results_of(const char *output, bool is_made, const char **ret)
{
    struct options c = { 0 };
    char *argv[] = { (char *)"-o", (char *)output };
    enum status st;

    cr_assert_eq(options_parse(VERB_RUN, 2, argv, &c, &err), ST_OK, "%s", err.text);
    st = path_results(&c, is_made, &arena, ret, &err);
    options_release(&c);
    return st;
}

Test(paths, output_is_a_folder_unless_it_is_named_or_is_a_file)
{
    static const char *const cases[][2] = {
        { "runs", "runs/results.sqlite" },
        { "/abs/runs", "/abs/runs/results.sqlite" },
        { ".", "./results.sqlite" },
        { "x.sqlite", "x.sqlite" },
        { "a/b.db", "a/b.db" },
        { "plain", "plain" },
        { "folder.sqlite", "folder.sqlite/results.sqlite" },
        { "x.sqlite/", "x.sqlite//results.sqlite" },
        { ".sqlite", ".sqlite" },
        { "db", "db/results.sqlite" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = NULL;

        cr_assert_eq(results_of(cases[i][0], false, &path), ST_OK);
        cr_assert_str_eq(path, cases[i][1]);
    }
    cr_assert_not(file_exists("runs"));
}

Test(paths, folders_are_made_on_request_and_a_file_in_the_way_is_named)
{
    const char *path;

    cr_assert_eq(results_of("one/two/three", true, &path), ST_OK, "%s", err.text);
    cr_assert(file_is_dir("one/two/three"));
    cr_assert_eq(results_of("four/five/x.sqlite", true, &path), ST_OK, "%s", err.text);
    cr_assert(file_is_dir("four/five"));
    cr_assert_not(file_exists("four/five/x.sqlite"));
    cr_assert_eq(results_of("plain/sub", true, &path), ST_IO);
    cr_assert(strstr(err.text, "plain"), "%s", err.text);
}

Test(paths, a_model_is_a_folder_or_a_bundled_name)
{
    const char *path;

    cr_assert_eq(path_model("folder.sqlite", &arena, &path, &err), ST_OK);
    cr_assert_str_eq(path, "folder.sqlite");
    cr_assert_eq(path_model("tiny-llada-moe", &arena, &path, &err), ST_OK, "%s", err.text);
    cr_assert(strstr(path, "/models/shapes/tiny-llada-moe"), "%s", path);
    cr_assert_eq(path_model("no-such", &arena, &path, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "'no-such'") && strstr(err.text, "ls models"), "%s", err.text);
    /* a bundled name never leads out of the bundle */
    cr_assert_eq(path_model("../models/shapes/tiny-llada-moe", &arena, &path, &err), ST_NOT_FOUND);
    cr_assert_eq(path_model("plain", &arena, &path, &err), ST_NOT_FOUND);
}

Test(paths, missing_data_is_told_with_the_file_and_the_way_to_give_it)
{
    const struct task_def *def = task_find("humaneval");
    struct options c = { 0 };
    const char *path;

    cr_assert(def);
    unsetenv("DESBENCH_DATA");
    setenv("XDG_DATA_HOME", dir, 1);
    cr_assert_eq(options_parse(VERB_RUN, 0, NULL, &c, &err), ST_OK);
    cr_assert_eq(path_task_dir(&c, def, &arena, &path, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, def->file) && strstr(err.text, "--data-dir"), "%s", err.text);
    options_release(&c);
    cr_assert_eq(options_parse(VERB_RUN, 1, (char *[]){ (char *)"--data-dir=plain" }, &c, &err),
                 ST_OK);
    cr_assert_eq(path_task_dir(&c, def, &arena, &path, &err), ST_NOT_FOUND);
    cr_assert(strstr(err.text, "'plain'"), "%s", err.text);
    options_release(&c);
}

Test(paths, the_data_folder_is_the_one_named_or_the_user_s)
{
    struct options c = { 0 };
    const char *path;

    unsetenv("DESBENCH_DATA");
    setenv("HOME", "/home/me", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    cr_assert_eq(options_parse(VERB_DATA, 0, NULL, &c, &err), ST_OK);
    cr_assert_eq(path_data_dir(&c, &arena, &path, &err), ST_OK);
    cr_expect_str_eq(path, "/data/desbench/data");
    setenv("XDG_DATA_HOME", "not/absolute", 1); /* which its specification tells to ignore */
    cr_assert_eq(path_data_dir(&c, &arena, &path, &err), ST_OK);
    cr_expect_str_eq(path, "/home/me/.local/share/desbench/data");
    unsetenv("XDG_DATA_HOME");
    unsetenv("HOME");
    cr_expect_eq(path_data_dir(&c, &arena, &path, &err), ST_NOT_FOUND);
    cr_expect(strstr(err.text, "--data-dir"), "%s", err.text);
    options_release(&c);
    setenv("DESBENCH_DATA", "named", 1);
    cr_assert_eq(options_parse(VERB_DATA, 0, NULL, &c, &err), ST_OK);
    cr_assert_eq(path_data_dir(&c, &arena, &path, &err), ST_OK);
    cr_expect_str_eq(path, "named");
    options_release(&c);
}
