/* A folder for a test's files, removed with what is in it. */
#ifndef TESTS_ENGINE_TEMP_DIR_H
#define TESTS_ENGINE_TEMP_DIR_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct temp_dir {
    char path[64];
};

static inline void temp_dir_init(struct temp_dir *d)
{
    snprintf(d->path, sizeof(d->path), "/tmp/desbench-test-XXXXXX");
    cr_assert(mkdtemp(d->path));
}

static inline void temp_dir_path(const struct temp_dir *d, const char *name, char *ret, size_t size)
{
    cr_assert_lt(snprintf(ret, size, "%s/%s", d->path, name), (int)size);
}

static inline void temp_dir_write(const struct temp_dir *d, const char *name, const void *data,
                                  size_t len)
{
    char path[512];
    FILE *f;

    temp_dir_path(d, name, path, sizeof(path));
    f = fopen(path, "wb");
    cr_assert(f);
    cr_assert_eq(fwrite(data, 1, len, f), len);
    cr_assert_eq(fclose(f), 0);
}

/* Files only, no folders below. */
static inline void temp_dir_release(struct temp_dir *d)
{
    DIR *dir = opendir(d->path);
    char path[512];

    cr_assert(dir);
    for (const struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        temp_dir_path(d, e->d_name, path, sizeof(path));
        unlink(path);
    }
    closedir(dir);
    rmdir(d->path);
}

#endif
