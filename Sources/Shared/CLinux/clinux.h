// The Linux calls that Swift's Glibc module does not show. _GNU_SOURCE is not defined here on
// purpose: its types would clash with Glibc's; the few GNU functions are declared by hand.
#pragma once
#include <malloc.h>
#include <sys/types.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <pwd.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <linux/filter.h>
#include <signal.h>
#include <time.h>

extern int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
extern int pipe2(int fds[2], int flags);
extern int memfd_create(const char *name, unsigned int flags);
extern int fexecve(int fd, char *const argv[], char *const envp[]);
extern int execve(const char *path, char *const argv[], char *const envp[]);
extern int wcwidth(__WCHAR_TYPE__ character);
extern ssize_t getrandom(void *buffer, size_t length, unsigned int flags);
extern int sched_getaffinity(pid_t pid, size_t size, void *mask);

// fork is hidden from Swift because threads make it dangerous; serverpyctl has one thread.
extern pid_t clinux_fork(void) __asm__("fork");
// pidfd_open (434 everywhere) has a wrapper since glibc 2.36 only; syscall is variadic.
extern long clinux_syscall(long number, long a, long b, long c, long d) __asm__("syscall");
// prctl is variadic, which Swift does not import.
extern int clinux_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) __asm__("prctl");
// ioctl likewise.
extern int clinux_ioctl(int fd, unsigned long request, unsigned long argument) __asm__("ioctl");
extern char **environ;
static inline char **clinux_environ(void) { return environ; }

struct clinux_credentials { pid_t pid; uid_t uid; gid_t gid; };

enum {
    CLINUX_MFD_CLOEXEC = 1, CLINUX_MFD_ALLOW_SEALING = 2,
    CLINUX_F_SETLEASE = 1024, CLINUX_F_ADD_SEALS = 1033, CLINUX_F_SEAL_ALL = 1 | 2 | 4 | 8,
    CLINUX_SCM_CREDENTIALS = 2, CLINUX_SO_PEERCRED = 17, CLINUX_SO_PASSCRED = 16,
    CLINUX_PR_SET_PDEATHSIG = 1, CLINUX_PR_SET_NAME = 15, CLINUX_PR_SET_NO_NEW_PRIVS = 38,
    CLINUX_O_PATH = 010000000, CLINUX_CLOSE_RANGE_CLOEXEC = 4,
};
