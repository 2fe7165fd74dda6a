// A load generator with a fixed rate: each request has its due time, and its latency counts from then (no coordinated omission).
// usage: paced PORT RATE SECONDS CONNECTIONS PATH      prints: requests p50 p99 p999 (microseconds) failures
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
static int compare(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }
// Every quarter of a millisecond those are sent that fall into it: a wake-up for each alone would fill this core.
static double due(double start, long n, double rate) { return start + (long)(n / rate * 4000 + 1) * 250.0; }
struct connection { int fd, busy, have; double due; char in[4096]; };
int main(int argc, char **argv) {
    if (argc < 6) return 64;
    prctl(PR_SET_TIMERSLACK, 1);
    int port = atoi(argv[1]), count = atoi(argv[4]); double rate = atof(argv[2]), seconds = atof(argv[3]);
    char request[512]; int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", argv[5]);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct connection *all = calloc(count, sizeof *all); int ep = epoll_create1(0), one = 1;
    int *idle = malloc(count * sizeof *idle), idles = 0;
    for (int i = 0; i < count; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (void *)&to, sizeof to)) { perror("connect"); return 1; }
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i}; epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &e); idle[idles++] = i;
    }
    long total = rate * seconds, sent = 0, done = 0, failed = 0; double *latency = malloc(total * sizeof *latency), start = now();
    while (done + failed < total && now() < start + (seconds + 5) * 1e6) {
        double t = now();
        while (sent < total && idles && due(start, sent, rate) <= t) {
            struct connection *c = &all[idle[--idles]]; c->due = due(start, sent, rate); c->busy = 1; c->have = 0; sent++;
            if (send(c->fd, request, length, MSG_NOSIGNAL) != length) failed++;
        }
        // Sleeps until the next is due: who spins is put off by the scheduler at a moment of its choice.
        double wait = sent < total && idles ? due(start, sent, rate) - now() : 1000; if (wait < 0) wait = 0;
        struct epoll_event events[256]; int n = epoll_pwait2(ep, events, 256, &(struct timespec){0, wait * 1000}, 0);
        for (int k = 0; k < n; k++) {
            struct connection *c = &all[events[k].data.u32]; ssize_t r = recv(c->fd, c->in + c->have, sizeof c->in - 1 - c->have, 0);
            if (r <= 0) { failed++; close(c->fd); continue; }
            c->have += r; c->in[c->have] = 0; char *end = strstr(c->in, "\r\n\r\n"), *field = strcasestr(c->in, "content-length:");
            if (!end || !field || c->have < end + 4 - c->in + atoi(field + 15)) continue;
            if (strncmp(c->in + 9, "200", 3)) failed++; else latency[done++] = now() - c->due;
            c->busy = 0; idle[idles++] = events[k].data.u32;
        }
    }
    qsort(latency, done, sizeof *latency, compare);
    printf("%ld %.0f %.0f %.0f %ld\n", done, latency[done / 2], latency[done * 99 / 100], latency[done * 999 / 1000], total - done);
}
