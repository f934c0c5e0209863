/* The system call filter of a program. Rows named are those of the table of hostile programs
 * in tests/harness/judge/test_hostile.c. */
#include "harness/judge/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

/* Names the running architecture or the library lacks are skipped: such a call cannot be made by
 * name there, and a new kernel's new calls are why no_new_privs and namespaces stand beside. */
static const char *const killed[] = {
    /* 46: the file system as others see it */
    "mount", "umount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen",
    "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at",
    /* 47: namespaces (clone is below) */
    "unshare", "setns",
    /* 48: other processes' memory and descriptors */
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "process_madvise", "kcmp",
    /* 51: the kernel's riskier parts */
    "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "userfaultfd",
    "perf_event_open", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "modify_ldt", "quotactl", "quotactl_fd",
    "swapon", "swapoff", "reboot", "acct", "iopl", "ioperm", "syslog", "vhangup",
    /* 62: clocks */
    "clock_settime", "settimeofday", "adjtimex", "clock_adjtime", "stime"
};

static const char *const refused[] = {
    /* Memory that neither RLIMIT_AS nor resident sizes count, at level user. */
    "memfd_create", "memfd_secret", "shmget", "shmat", "msgget", "semget", "mq_open",
    /* 56: locks and notices on the shared, read-only /usr pass bits between programs. */
    "flock", "inotify_init", "inotify_init1", "fanotify_init", "name_to_handle_at",
    /* 55: placement and priority of other processes; their own are of no use to them either. */
    "setpriority", "ioprio_set", "migrate_pages", "move_pages", "mbind", "set_mempolicy",
    "process_mrelease", "sethostname", "setdomainname", "personality"
};

static int add_lists(scmp_filter_ctx ctx)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(killed) / sizeof(*killed); i++) {
        int nr = seccomp_syscall_resolve_name(killed[i]);
        if (nr != __NR_SCMP_ERROR)
            rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, nr, 0);
        if (rc == -EDOM) /* no such call on this architecture */
            rc = 0;
    }
    for (size_t i = 0; rc == 0 && i < sizeof(refused) / sizeof(*refused); i++) {
        int nr = seccomp_syscall_resolve_name(refused[i]);
        if (nr != __NR_SCMP_ERROR)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
        if (rc == -EDOM)
            rc = 0;
    }
    return rc;
}

/* Calls judged by an argument. The kernel reads these as 32-bit values, so only the low half is
 * compared; where ranges are compared, a set upper half lands in the killed range. */
static int add_argument_rules(scmp_filter_ctx ctx)
{
    static const uint64_t ns_flags[] = { 0x00020000 /* NEWNS */,
                                         0x02000000 /* NEWCGROUP */,
                                         0x04000000 /* NEWUTS */,
                                         0x08000000 /* NEWIPC */,
                                         0x10000000 /* NEWUSER */,
                                         0x20000000 /* NEWPID */,
                                         0x40000000 /* NEWNET */ };
    static const uint32_t ioctls[] = { TIOCSTI, TIOCLINUX };
    static const int locks[] = { F_GETLK,     F_SETLK,      F_SETLKW,   F_OFD_GETLK,
                                 F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE, F_NOTIFY };
    static const int by_pid[] = { SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_setscheduler),
                                  SCMP_SYS(sched_setparam), SCMP_SYS(sched_setattr),
                                  SCMP_SYS(prlimit64) };
    int rc = 0;

    /* 47. clone3 keeps its flags in memory, out of a filter's sight; libc then uses clone. */
    for (size_t i = 0; rc == 0 && i < sizeof(ns_flags) / sizeof(*ns_flags); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, ns_flags[i], ns_flags[i]));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* 50. Families left: unspecified, unix (1), inet (2), inet6 (10). */
    for (uint64_t family = AF_INET + 1; rc == 0 && family < AF_INET6; family++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, family, 0));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_GT, AF_INET6, 0));
    /* 61 */
    for (size_t i = 0; rc == 0 && i < sizeof(ioctls) / sizeof(*ioctls); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, ioctls[i]));
    /* 56 */
    for (size_t i = 0; rc == 0 && i < sizeof(locks) / sizeof(*locks); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fcntl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, (uint64_t)locks[i]));
    /* 55. The namespace's init has the program's uid: only a process's own settings (pid 0). */
    for (size_t i = 0; rc == 0 && i < sizeof(by_pid) / sizeof(*by_pid); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), by_pid[i], 1, SCMP_A0(SCMP_CMP_NE, 0, 0));
    /* 53. RLIMIT_CORE stays as inside.c sets it: lowered to 0 it lets the host's handler run. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setrlimit), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffff, RLIMIT_CORE));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 2,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, RLIMIT_CORE),
                              SCMP_A2(SCMP_CMP_NE, 0, 0));
    return rc;
}

static enum status read_program(int fd, struct sock_fprog *ret, struct error *err)
{
    struct stat sb;
    struct sock_filter *code;

    if (fstat(fd, &sb) != 0 || sb.st_size <= 0 || sb.st_size % (off_t)sizeof(*code) != 0 ||
        sb.st_size / (off_t)sizeof(*code) > UINT16_MAX)
        return error_set(err, ST_INTERNAL, "system call filter has %lld bytes",
                         (long long)sb.st_size);
    code = malloc((size_t)sb.st_size);
    if (!code)
        return error_set(err, ST_NOMEM, "out of memory for the system call filter");
    if (pread(fd, code, (size_t)sb.st_size, 0) != sb.st_size) {
        free(code);
        return error_set(err, ST_IO, "cannot read the system call filter back");
    }
    ret->filter = code;
    ret->len = (unsigned short)(sb.st_size / (off_t)sizeof(*code));
    return ST_OK;
}

enum status filter_make(struct sock_fprog *ret, struct error *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    enum status st = ST_OK;
    int fd = -1, rc;

    if (!ctx)
        return error_set(err, ST_NOMEM, "out of memory for the system call filter");
    rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0) /* a binary tree: fewer instructions a call than a chain of comparisons */
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc == 0)
        rc = add_lists(ctx);
    if (rc == 0)
        rc = add_argument_rules(ctx);
    if (rc < 0) {
        st = error_set(err, rc == -ENOMEM ? ST_NOMEM : ST_UNSUPPORTED,
                       "libseccomp refuses the filter: %s", strerror(-rc));
        goto out;
    }
    fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0 || seccomp_export_bpf(ctx, fd) < 0) {
        st = error_set(err, errno == ENOMEM ? ST_NOMEM : ST_IO,
                       "cannot export the system call filter: %s", strerror(errno));
        goto out;
    }
    st = read_program(fd, ret, err);
out:
    if (fd >= 0)
        close(fd);
    seccomp_release(ctx);
    return st;
}

void filter_release(struct sock_fprog *f)
{
    free(f->filter);
    f->filter = NULL;
    f->len = 0;
}
