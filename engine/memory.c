/* Memory: /proc/meminfo, and the cgroups on the way from the process to the top. */
#include "engine/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"

enum { MAX_TEXT = 1 << 16 };

/* Where a hierarchy is mounted and what its files are called. */
struct hierarchy {
    const char *mount, *limit, *usage, *cache; /* cache: a key of memory.stat */
};
static const struct hierarchy v2 = { "/sys/fs/cgroup", "memory.max", "memory.current",
                                     "inactive_file" };
static const struct hierarchy v1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                     "memory.usage_in_bytes", "total_inactive_file" };

/* The text of root + a + b + "/" + c; false where it cannot be had. */
static bool read_text(const char *root, const char *a, const char *b, const char *c,
                      struct buf *ret)
{
    struct buf path = { 0 };
    bool is_ok;

    buf_printf(&path, "%s%s%s%s%s", root, a, b, *c ? "/" : "", c);
    is_ok = buf_ok(&path) && file_read(buf_str(&path), MAX_TEXT, ret, NULL) == ST_OK;
    buf_release(&path);
    return is_ok;
}

/* The number behind key at the beginning of a line; key "": the first one. */
static bool find_number(const char *text, const char *key, size_t *ret)
{
    size_t len = strlen(key);

    for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        char *end;
        unsigned long long v;

        if (strncmp(p, key, len) != 0 || (len && p[len] != ' '))
            continue;
        p += len + strspn(p + len, " ");
        v = *p >= '0' && *p <= '9' ? strtoull(p, &end, 10) : 0;
        if (*p < '0' || *p > '9')
            return false; /* "max" */
        *ret = v < SIZE_MAX ? (size_t)v : SIZE_MAX;
        return true;
    }
    return false;
}

static bool read_number(const char *root, const struct hierarchy *h, const char *group,
                        const char *file, const char *key, size_t *ret)
{
    struct buf text = { 0 };
    bool is_ok =
        read_text(root, h->mount, group, file, &text) && find_number(buf_str(&text), key, ret);

    buf_release(&text);
    return is_ok;
}

/* What one cgroup leaves, SIZE_MAX without a limit. */
static size_t group_available(const char *root, const struct hierarchy *h, const char *group)
{
    size_t limit, used = 0, cache = 0;

    if (!read_number(root, h, group, h->limit, "", &limit))
        return SIZE_MAX;
    if (!read_number(root, h, group, h->usage, "", &used))
        used = 0;
    if (!read_number(root, h, group, "memory.stat", h->cache, &cache))
        cache = 0;
    used = used > cache ? used - cache : 0;
    return limit > used ? limit - used : 0;
}

/* The least of a group's and of those around it. In a container the path may be one of the host,
 * which is not there; the top then stands for the container's own. */
static size_t path_available(const char *root, const struct hierarchy *h, char *group)
{
    size_t least = SIZE_MAX, n;

    for (;;) {
        char *slash = strrchr(group, '/');

        if (slash && !slash[1])
            *slash = '\0';
        n = group_available(root, h, group);
        least = n < least ? n : least;
        slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Is "memory" one of the comma-separated controllers at s? */
static bool has_memory(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        size_t n = strcspn(s + i, ",:");

        if (n == 6 && strncmp(s + i, "memory", 6) == 0)
            return true;
        i += n;
    }
    return false;
}

/* Lines of /proc/self/cgroup: "0::/path" (version 2) and "5:cpu,memory:/path" (version 1). */
static size_t cgroups_available(const char *root)
{
    struct buf text = { 0 };
    size_t least = SIZE_MAX;
    char *line, *rest = NULL;

    if (!read_text(root, "/proc/self/cgroup", "", "", &text))
        buf_clear(&text);
    for (line = text.len ? strtok_r(text.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        const struct hierarchy *h = NULL;
        size_t n;

        if (!second)
            continue;
        if (second == first + 1)
            h = &v2;
        else if (has_memory(first + 1, (size_t)(second - first - 1)))
            h = &v1;
        n = h ? path_available(root, h, second + 1) : SIZE_MAX;
        least = n < least ? n : least;
    }
    buf_release(&text);
    return least;
}

size_t memory_available(const char *root)
{
    struct buf text = { 0 };
    size_t bytes = SIZE_MAX, kib, groups = cgroups_available(root);

    if (read_text(root, "/proc/meminfo", "", "", &text) &&
        find_number(buf_str(&text), "MemAvailable:", &kib) && !size_mul(kib, 1024, &bytes))
        bytes = SIZE_MAX;
    buf_release(&text);
    return bytes < groups ? bytes : groups;
}
