/* Machine facts, from made-up /proc, /sys and /etc trees. */
#include <sys/utsname.h>

#include "base/json.h"
#include "tests/results/fixture.h"

static struct scratch x;

static void open_scratch(void)
{
    scratch_open(&x);
}

static void close_scratch(void)
{
    scratch_close(&x);
}

TestSuite(env, .init = open_scratch, .fini = close_scratch);

static void put_file(const char *path, const char *text)
{
    struct buf full = { 0 };
    struct error err = { 0 };

    buf_printf(&full, "%s%s", x.dir, path);
    *strrchr(full.data, '/') = '\0';
    cr_assert_eq(file_make_dirs(full.data, &err), ST_OK, "%s", err.text);
    buf_clear(&full);
    buf_printf(&full, "%s%s", x.dir, path);
    cr_assert_eq(file_write_atomic(full.data, text, strlen(text), &err), ST_OK, "%s", err.text);
    buf_release(&full);
}

/* The capture of root, parsed. */
static json_t *capture(const char *root)
{
    struct buf b = { 0 };
    struct error err = { 0 };
    json_t *v = NULL;

    cr_assert_eq(env_capture_root(root, &b, &err), ST_OK, "%s", err.text);
    cr_assert_eq(json_parse(b.data, b.len, "env", 0, &v, &err), ST_OK, "%s: %s", err.text, b.data);
    buf_release(&b);
    return v;
}

static const char *text_of(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));

    return s ? s : "(absent)";
}

Test(env, this_machine_is_valid_json_with_its_name)
{
    struct buf b = { 0 };
    struct error err = { 0 };
    struct utsname u;
    json_t *v = capture("");

    cr_assert_eq(uname(&u), 0);
    cr_expect_str_eq(text_of(v, "host"), u.nodename);
    cr_expect_str_eq(text_of(v, "kernel"), u.release);
    cr_expect_gt(json_integer_value(json_object_get(v, "cores_online")), 0);
    cr_expect_gt(json_integer_value(json_object_get(v, "cores_allowed")), 0);
    cr_expect_gt(json_integer_value(json_object_get(v, "memory_bytes")), 1 << 20);
    json_decref(v);
    cr_expect_eq(env_capture_json(&b, &err), ST_OK);
    buf_release(&b);
}

Test(env, facts_are_read_from_their_files)
{
    json_t *v;
    const json_t *gpus, *flags;

    put_file("/etc/os-release", "NAME=x\nPRETTY_NAME=\"Some \\ Linux 12\"\nID=x\n");
    put_file("/proc/cpuinfo", "processor\t: 0\nmodel\t\t: 143\nmodel name\t: Fast CPU @ 2 GHz\n"
                              "flags\t\t: fpu avx2 avx512fx avx512_bf16 amx_tile\n\n"
                              "processor\t: 1\nmodel name\t: Other\n");
    put_file("/proc/meminfo", "MemFree: 1 kB\nMemTotal:       16 kB\n");
    put_file("/proc/self/cgroup", "0::/a/b\n");
    put_file("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    put_file("/sys/fs/cgroup/a/b/memory.max", "8192\n");
    put_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put_file("/proc/driver/nvidia/version",
             "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
             "GCC version:  gcc version 12.2.0\n");
    put_file("/proc/driver/nvidia/gpus/0000:01:00.0/information",
             "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 1\nGPU UUID: \t GPU-12-ab\n");
    put_file("/proc/driver/nvidia/gpus/0000:02:00.0/information", "Model: \t\t Other \"G\"\n");
    v = capture(x.dir);
    cr_expect_str_eq(text_of(v, "os"), "Some \\ Linux 12");
    cr_expect_str_eq(text_of(v, "cpu_model"), "Fast CPU @ 2 GHz");
    flags = json_object_get(v, "cpu_flags");
    cr_assert_eq(json_array_size(flags), 3, "avx512fx is not avx512f");
    cr_expect_str_eq(json_string_value(json_array_get(flags, 0)), "avx2");
    cr_expect_str_eq(json_string_value(json_array_get(flags, 1)), "avx512_bf16");
    cr_expect_str_eq(json_string_value(json_array_get(flags, 2)), "amx_tile");
    cr_expect_eq(json_integer_value(json_object_get(v, "memory_bytes")), 16384);
    cr_expect_eq(json_integer_value(json_object_get(v, "memory_limit_bytes")), 8192);
    cr_expect_eq(json_number_value(json_object_get(v, "cpu_quota")), 1.5);
    cr_expect_str_eq(text_of(v, "governor"), "powersave");
    cr_expect_str_eq(text_of(v, "gpu_driver"), "580.65.06");
    gpus = json_object_get(v, "gpus");
    cr_assert_eq(json_array_size(gpus), 2);
    cr_expect_str_eq(text_of(json_array_get(gpus, 0), "name"), "NVIDIA H100 80GB HBM3");
    cr_expect_str_eq(text_of(json_array_get(gpus, 0), "uuid"), "GPU-12-ab");
    cr_expect_str_eq(text_of(json_array_get(gpus, 1), "name"), "Other \"G\"");
    cr_expect_null(json_object_get(json_array_get(gpus, 1), "uuid"));
    json_decref(v);
}

Test(env, what_is_not_known_is_absent)
{
    static const char *const keys[] = {
        "os",        "cpu_model", "cpu_flags", "memory_bytes", "memory_limit_bytes",
        "cpu_quota", "governor",  "gpus",      "gpu_driver"
    };
    json_t *v = capture(x.dir); /* an empty tree */

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        cr_expect_null(json_object_get(v, keys[i]), "%s", keys[i]);
    json_decref(v);
    put_file("/etc/os-release", "PRETTY_NAME=\"\"\n");
    put_file("/proc/cpuinfo", "model name");
    put_file("/proc/meminfo", "MemTotal: many kB\n");
    put_file("/proc/self/cgroup", "0::/\n");
    put_file("/sys/fs/cgroup/cpu.max", "max 100000\n");
    put_file("/sys/fs/cgroup/memory.max", "max\n");
    put_file("/proc/driver/nvidia/version", "NVRM version: none\n");
    put_file("/proc/driver/nvidia/gpus/0/information", "IRQ: 7\n");
    v = capture(x.dir);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        cr_expect_null(json_object_get(v, keys[i]), "%s", keys[i]);
    json_decref(v);
}
