//! What a worker may not ask of the kernel: a seccomp filter (`seccomp(2)`).
//!
//! It is a list of what no worker needs, and not of what one needs: NVIDIA's driver makes whatever calls its version makes.
//! A call on the list fails with EPERM, which the driver knows how to take, and the process lives.

use std::collections::BTreeMap;

use rustix::process::getpid;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that no worker makes once its context is open.
const NEVER: &[libc::c_long] = &[
    // To look into other processes, and to change them.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    // To become another program or another user.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_personality,
    // To be reached, and to go beyond this machine. What is connected stays so.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Namespaces, mounts and roots.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_mknodat,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    // Parts of the kernel that have been ways into it more often than others.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
];

/// Those that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_mknod,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[libc::c_long] = &[];

/// What the software GPU does not need besides: it opens no file, talks to nobody but the server, and has threads like any.
const BARE: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_chdir,
    libc::SYS_memfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];

/// The older forms of these, which only x86-64 has.
#[cfg(target_arch = "x86_64")]
const BARE_HERE: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const BARE_HERE: &[libc::c_long] = &[];

/// Signals, and limits, with their target as the first argument: a worker's is itself, which it may also call 0.
const TO_ITSELF: &[libc::c_long] =
    &[libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo, libc::SYS_prlimit64];

/// Kinds of sockets that the driver may make: to daemons of this machine, and to the kernel.
const LOCAL_FAMILIES: [libc::c_int; 2] = [libc::AF_UNIX, libc::AF_NETLINK];

/// On x86-64 each call has a second number, for programs with short pointers (`syscall(2)`, x32).
const SHORT_POINTERS: i64 = 0x4000_0000;

/// Takes these calls from all threads of this process, and from those that they start. A `bare` one has none for files
/// left.
///
/// # Errors
/// The kernel has no such filters.
pub(super) fn close(bare: bool) -> seccompiler::Result<()> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules(bare)?, SeccompAction::Allow, denied, arch)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}

/// By call, when it is denied: always, if there is no condition.
fn rules(bare: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let is_not = |what: i32| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(what.cast_unsigned()))
    };
    let own = getpid().as_raw_nonzero().get();
    let mut rules = BTreeMap::new();
    for call in TO_ITSELF {
        rules.insert(*call, vec![SeccompRule::new(vec![is_not(own)?, is_not(0)?])?]);
    }
    let foreign = LOCAL_FAMILIES.into_iter().map(is_not).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(foreign)?]);
    let besides = [BARE, BARE_HERE].into_iter().filter(|_| bare);
    for call in [NEVER, NEVER_HERE].into_iter().chain(besides).flatten() {
        rules.insert(*call, Vec::new());
    }
    if cfg!(target_arch = "x86_64") {
        let short: Vec<_> =
            rules.iter().map(|(call, rules)| (call | SHORT_POINTERS, rules.clone())).collect();
        rules.extend(short);
    }
    Ok(rules)
}
