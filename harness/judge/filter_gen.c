/*
 * Run by the build: prints filter_program.c, the system call filter of a program. Rows named are
 * those of the table of hostile programs in tests/harness/judge/test_hostile.c.
 *
 * By the build, as libseccomp 2.5.4 is not to be trusted when an allocation fails: in
 * seccomp_export_bpf() it reads through NULL, or returns success and a filter that has lost most
 * of its rules. It takes no allocator, so base/guard.h cannot stand around it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
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

static int print_program(int fd)
{
    struct sock_filter f;
    ssize_t n;
    size_t count = 0;

    printf("#include \"harness/judge/filter.h\"\n\n"
           "static const struct sock_filter program[] = {\n");
    for (off_t at = 0; (n = pread(fd, &f, sizeof(f), at)) == (ssize_t)sizeof(f); at += n, count++)
        printf("    { 0x%02x, %u, %u, 0x%x },\n", f.code, f.jt, f.jf, f.k);
    printf("};\n\n"
           "struct sock_fprog filter_program(void)\n{\n"
           "    /* the kernel only reads it */\n"
           "    return (struct sock_fprog){ %zu, (struct sock_filter *)program };\n}\n",
           count);
    return n == 0 && count > 0 && count <= UINT16_MAX && fflush(stdout) == 0 ? 0 : -EIO;
}

int main(void)
{
    scmp_filter_ctx ctx;
    int fd = memfd_create("filter", MFD_CLOEXEC);
    /* what the kernel that runs the build can do is no matter: the judge probes its own */
    int rc = fd < 0 ? -errno : seccomp_api_set(3);

    ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx)
        rc = -ENOMEM;
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0) /* a binary tree: fewer instructions a call than a chain of comparisons */
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc == 0)
        rc = add_lists(ctx);
    if (rc == 0)
        rc = add_argument_rules(ctx);
    if (rc == 0)
        rc = seccomp_export_bpf(ctx, fd);
    if (rc == 0)
        rc = print_program(fd);
    if (rc != 0)
        fprintf(stderr, "filter_gen: no system call filter: %s\n", strerror(-rc));
    if (ctx)
        seccomp_release(ctx);
    if (fd >= 0)
        close(fd);
    return rc != 0;
}
