/*
 * The root of a zygote, shared by all that it forks: a small read-only tmpfs with views of /usr
 * and of four harmless devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/judge/mounts.h"
#include "harness/judge/zygote.h"

/* The embedded helper. */
extern const char helper_so[];
extern const size_t helper_so_len;

static void make_dir(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0)
        ctl_die(ZYGOTE_CMD, "make '/%s'", path);
}

/* A view of a host path at the same place below the new root. */
static void bind(const char *host, uint64_t attributes)
{
    const char *path = host + 1; /* the new root is the working directory */

    if (mount(host, path, NULL, MS_BIND | MS_REC, NULL) != 0)
        ctl_die(ZYGOTE_CMD, "bind '%s'", host);
    if (mount_set(path, AT_RECURSIVE, attributes) != 0)
        ctl_die(ZYGOTE_CMD, "make '%s' read-only", host);
}

/* /lib and its like are links into /usr where the system is merged, else folders of their own. */
static void add_top_folders(void)
{
    static const char *const names[] = { "/bin", "/sbin", "/lib", "/lib32", "/lib64" };
    char target[256];
    struct stat sb;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (lstat(names[i], &sb) != 0)
            continue;
        if (S_ISLNK(sb.st_mode)) {
            ssize_t n = readlink(names[i], target, sizeof(target) - 1);
            if (n < 0)
                ctl_die(ZYGOTE_CMD, "read link '%s'", names[i]);
            target[n] = '\0';
            if (symlink(target, names[i] + 1) != 0)
                ctl_die(ZYGOTE_CMD, "link '%s'", names[i]);
        } else {
            make_dir(names[i] + 1, 0755);
            bind(names[i], ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
        }
    }
}

static void add_files(void)
{
    /* The loader's cache, for interpreters whose libraries lie in /usr/local/lib. */
    static const char *const files[] = { "/etc/ld.so.cache", "/dev/null", "/dev/zero",
                                         "/dev/urandom", "/dev/random" };

    make_dir("etc", 0755);
    make_dir("dev", 0755);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        if (access(files[i], F_OK) != 0)
            continue;
        int fd = open(files[i] + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
        if (fd < 0)
            ctl_die(ZYGOTE_CMD, "make '%s'", files[i]);
        close(fd);
        bind(files[i], ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC);
    }
    /* multiprocessing keeps its semaphores there. */
    if (symlink(SANDBOX_DIR, "dev/shm") != 0)
        ctl_die(ZYGOTE_CMD, "link '/dev/shm'");
}

static void add_helper(void)
{
    int fd = open(&SANDBOX_HELPER[1], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555);
    size_t done = 0;

    while (fd >= 0 && done < helper_so_len) {
        ssize_t n = write(fd, helper_so + done, helper_so_len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (fd < 0 || done < helper_so_len || close(fd) != 0)
        ctl_die(ZYGOTE_CMD, "write '" SANDBOX_HELPER "'");
}

void root_build(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV;
    char opts[64];

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        ctl_die(ZYGOTE_CMD, "make mounts private");
    snprintf(opts, sizeof(opts), "size=%zu,nr_inodes=64,mode=0755", helper_so_len + (64 << 10));
    if (mount("root", "/tmp", "tmpfs", flags, opts) != 0)
        ctl_die(ZYGOTE_CMD, "mount the root");
    if (chdir("/tmp") != 0)
        ctl_die(ZYGOTE_CMD, "enter the root");
    make_dir("usr", 0755);
    bind("/usr", ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV);
    add_top_folders();
    add_files();
    add_helper();
    make_dir("tmp", 0755);
    make_dir("proc", 0755);
    if (mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL) != 0)
        ctl_die(ZYGOTE_CMD, "bind '/proc'");
    /* Old root and new one on top of each other; then the old one goes. */
    if (syscall(SYS_pivot_root, ".", ".") != 0)
        ctl_die(ZYGOTE_CMD, "pivot the root");
    if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        ctl_die(ZYGOTE_CMD, "detach the old root");
}
