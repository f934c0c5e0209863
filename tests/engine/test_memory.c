/* Memory left, by made-up /proc and /sys. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/memory.h"

static char root[] = "/tmp/desbench-memory-XXXXXX";

static void put(const char *path, const char *text)
{
    char whole[512], *slash;
    struct error err;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    slash = strrchr(whole, '/');
    *slash = '\0';
    cr_assert_eq(file_make_dirs(whole, &err), ST_OK, "%s", err.text);
    *slash = '/';
    cr_assert_eq(file_write_atomic(whole, text, strlen(text), &err), ST_OK, "%s", err.text);
}

static void begin(void)
{
    cr_assert(mkdtemp(root));
}

static void end(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

#define MIB ((size_t)1 << 20)
TestSuite(memory, .init = begin, .fini = end);

Test(memory, nothing_to_read_is_no_limit)
{
    cr_expect_eq(memory_available(root), SIZE_MAX);
    put("/proc/meminfo", "MemTotal: 99 kB\n");
    cr_expect_eq(memory_available(root), SIZE_MAX);
}

Test(memory, without_cgroups_it_is_what_the_kernel_says)
{
    put("/proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n");
    cr_expect_eq(memory_available(root), 8 * MIB);
    put("/proc/self/cgroup", "0::/user/one\n");
    cr_expect_eq(memory_available(root), 8 * MIB);
}

Test(memory, a_version_2_limit_counts_less_its_usage_but_for_cache)
{
    put("/proc/meminfo", "MemAvailable:    8192 kB\n");
    put("/proc/self/cgroup", "0::/user/one\n");
    put("/sys/fs/cgroup/user/one/memory.max", "max\n");
    put("/sys/fs/cgroup/user/one/memory.current", "1048576\n");
    cr_expect_eq(memory_available(root), 8 * MIB);
    put("/sys/fs/cgroup/user/one/memory.max", "4194304\n");
    cr_expect_eq(memory_available(root), 3 * MIB);
    put("/sys/fs/cgroup/user/one/memory.stat", "anon 7\nfile 9\ninactive_file 524288\nx 1\n");
    cr_expect_eq(memory_available(root), 3 * MIB + MIB / 2);
    put("/sys/fs/cgroup/user/memory.max", "2097152\n"); /* a group around it is narrower */
    cr_expect_eq(memory_available(root), 2 * MIB);
    put("/sys/fs/cgroup/user/memory.current", "4194304\n"); /* and beyond its limit */
    cr_expect_eq(memory_available(root), 0);
}

Test(memory, in_a_container_the_top_is_its_own_group)
{
    put("/proc/meminfo", "MemAvailable:    8192 kB\n");
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "1048576\n");
    cr_expect_eq(memory_available(root), MIB);
    put("/proc/self/cgroup", "0::/docker/of/the/host\n");
    cr_expect_eq(memory_available(root), MIB);
}

Test(memory, a_version_1_limit_counts_likewise)
{
    put("/proc/meminfo", "MemAvailable:    8192 kB\n");
    put("/proc/self/cgroup", "9:name=systemd:/a\n5:cpu,memory:/one\n4:memoryless:/two\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
    cr_expect_eq(memory_available(root), 8 * MIB);
    put("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", "4194304\n");
    put("/sys/fs/cgroup/memory/one/memory.usage_in_bytes", "2097152\n");
    put("/sys/fs/cgroup/memory/one/memory.stat", "inactive_file 1\ntotal_inactive_file 1048576\n");
    cr_expect_eq(memory_available(root), 3 * MIB);
}

Test(memory, damaged_files_are_no_limit)
{
    put("/proc/meminfo", "MemAvailable:    8192 kB\n");
    put("/proc/self/cgroup", "\n0\n:\n::\n0::\nx:memory\n0::/one");
    put("/sys/fs/cgroup/one/memory.max", "-5\n");
    cr_expect_eq(memory_available(root), 8 * MIB);
    put("/sys/fs/cgroup/one/memory.max", "");
    cr_expect_eq(memory_available(root), 8 * MIB);
    cr_expect_gt(memory_available(""), 0);
}
