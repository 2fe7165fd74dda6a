// Slow clients: each sends one byte of a head or of a body a second, for ever. usage: slow PORT CONNECTIONS head|body PATH
// With port 0 they send to a process of their own that accepts them and never reads: what the generator itself costs the others.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc < 5) return 64;
    int port = atoi(argv[1]), count = atoi(argv[2]), body = !strcmp(argv[3], "body"), *fds = calloc(count, sizeof *fds);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (!port) {
        int listener = socket(AF_INET, SOCK_STREAM, 0); socklen_t size = sizeof to;
        if (bind(listener, (void *)&to, sizeof to) || listen(listener, 4096)) { perror("listen"); return 1; }
        getsockname(listener, (void *)&to, &size);
        if (!fork()) { prctl(PR_SET_PDEATHSIG, 9); while (accept(listener, 0, 0) >= 0) {} pause(); }
        close(listener);
    }
    char head[512]; int length = snprintf(head, sizeof head, body ? "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" : "GET %s HTTP/1.1\r\nHost: a\r\nX-Slow: ", argv[4]);
    for (int i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (void *)&to, sizeof to)) { perror("connect"); return 1; }
        send(fds[i], head, length, MSG_NOSIGNAL);
    }
    printf("connected\n"); fflush(stdout);
    // Spread evenly over the second: a burst of the generator's would be what the others wait for.
    struct timespec due; clock_gettime(CLOCK_MONOTONIC, &due);
    for (int step = 0;; step = (step + 1) % 1000) {
        for (int i = step; i < count; i += 1000) send(fds[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if ((due.tv_nsec += 1000000) >= 1000000000) { due.tv_nsec -= 1000000000; due.tv_sec++; }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, 0);
    }
}
