// What the client, the instances and the script share: a file of words and, behind them, a byte for each request's number.
// It is mapped, so that a kill -9 loses nothing of it.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 4096, REQUESTS = 1 << 26, BODY = 256 * 1024 };
struct ledger { volatile uint64_t word[WORDS]; volatile uint8_t request[REQUESTS]; };

static uint64_t nanoseconds(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }

static struct ledger *open_ledger(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct ledger))) { perror(path); exit(1); }
    struct ledger *ledger = mmap(0, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ledger == MAP_FAILED) { perror(path); exit(1); }
    return ledger;
}

// The body that belongs to a request's number, both ways: nobody can mix up two of them unseen.
static char pattern[BODY + 64];
static void make_pattern(void) { for (int i = 0; i < BODY + 64; i++) pattern[i] = 'a' + i % 26 + (i % 7 == 3 ? -32 : 0); }
static const char *body_of(uint32_t id) { return pattern + id % 26; }

static void raise_limits(void) { struct rlimit r; getrlimit(RLIMIT_NOFILE, &r); r.rlim_cur = r.rlim_max; setrlimit(RLIMIT_NOFILE, &r); prctl(PR_SET_TIMERSLACK, 1); prctl(PR_SET_PDEATHSIG, 9); }
