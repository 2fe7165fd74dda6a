// Timers and nothing else: the share of 1 ms sleeps that end within 100 ms of their time. usage: timers SECONDS
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1; long total = 0, good = 0; struct timespec at, now; clock_gettime(CLOCK_MONOTONIC, &at);
    for (double gone = 0; gone < seconds; gone += 0.001) {
        at.tv_nsec += 1000000; if (at.tv_nsec >= 1000000000) { at.tv_nsec -= 1000000000; at.tv_sec++; }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, 0); clock_gettime(CLOCK_MONOTONIC, &now);
        total++; good += (now.tv_sec - at.tv_sec) + (now.tv_nsec - at.tv_nsec) / 1e9 <= 0.1;
    }
    printf("%.6f\n", (double)good / total); return 0;
}
