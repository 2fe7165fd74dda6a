// A client that checks every answer, byte by byte, and notes how each request ended in mapped memory.
// usage: client PORT RATE CONNECTIONS SEED LEDGER PATH-PREFIX    until it is told to end (word QUIT)
#include "ledger.h"
#include <math.h>
// How a request ended, in its byte; a POST's has the highest bit, too.
enum { SENT = 1, OK, FAILED, LOST, POST = 0x80 };
enum { GETS, GETS_OK, GETS_FAILED, GETS_LOST, POSTS, POSTS_OK, POSTS_FAILED, POSTS_LOST, REFUSED, WRONG, OPENED, UNDER_WAY, QUIT, PAUSE, SLOW, SLOW_LAST_SENT, NEXT, TIMEOUTS, LATE_AFTER, SLOW_LATE, HISTOGRAM = 64 };
enum { SLOW_MILLISECONDS = 500, BUCKETS = 1024 };
struct connection {
    int fd, state, reused, is_post, wanted, sent, total, have, head; uint32_t id; uint64_t due, sent_at; char out[512]; int out_head; const char *body; char *in; int checked, closes, status, broken;
};
enum { CLOSED, CONNECTING, IDLE, BUSY };
static struct ledger *l; static int ep, port, complaints; static uint64_t seed; static const char *prefix;
static uint64_t chance(void) { uint64_t z = (seed += 0x9e3779b97f4a7c15); z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9; z = (z ^ z >> 27) * 0x94d049bb133111eb; return z ^ z >> 31; }
static struct connection *all, **idle; static int idles, count;

static void observe(uint64_t nanoseconds) { // Of small requests; buckets of a sixteenth of a doubling, from a microsecond.
    double us = nanoseconds / 1000.0; int i = us < 1 ? 0 : (int)(log2(us) * 16); l->word[HISTOGRAM + (i >= BUCKETS ? BUCKETS - 1 : i)]++;
}
static void complain(struct connection *c, const char *what) {
    if (complaints++ < 40) fprintf(stderr, "client: %.3f %s %u: %s (status %d, reused %d, %.0f ms) %.*s\n", nanoseconds() / 1e9, c->is_post ? "POST" : "GET", c->id, what, c->status, c->reused, (nanoseconds() - c->sent_at) / 1e6, c->status && c->status != 200 ? c->have - c->head : 0, c->in + c->head);
}
static void drop(struct connection *c) { if (c->fd >= 0) close(c->fd); c->fd = -1; if (c->state != CLOSED) { c->state = CLOSED; idle[idles++] = c; } }
static void finish(struct connection *c, int how) {
    l->request[c->id] = how | (c->is_post ? POST : 0); l->word[UNDER_WAY]--;
    l->word[(c->is_post ? POSTS : GETS) + how - 1]++;
    if (nanoseconds() - c->sent_at > SLOW_MILLISECONDS * 1000000ull) { l->word[SLOW]++; if (c->sent_at > l->word[SLOW_LAST_SENT]) l->word[SLOW_LAST_SENT] = c->sent_at; if (l->word[LATE_AFTER] && c->sent_at > l->word[LATE_AFTER]) l->word[SLOW_LATE]++; }
}
static void lose(struct connection *c, const char *why) { if (c->state == BUSY) { complain(c, why); finish(c, LOST); } drop(c); }
static void push(struct connection *c) {
    while (c->sent < c->total) {
        struct iovec { const void *p; size_t n; } v[2]; int i = 0;
        if (c->sent < c->out_head) { v[i].p = c->out + c->sent; v[i++].n = c->out_head - c->sent; }
        int at = c->sent > c->out_head ? c->sent - c->out_head : 0, body = c->total - c->out_head;
        if (at < body) { v[i].p = c->body + at; v[i++].n = body - at; }
        struct msghdr m = {.msg_iov = (void *)v, .msg_iovlen = i};
        ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        // An answer may stand before the end: what comes in tells.
        if (n < 0) { if (errno != EAGAIN) c->broken = 1; return; }
        c->sent += n;
    }
}
static void begin(struct connection *c, uint64_t due) {
    c->id = l->word[NEXT]++; c->due = due; c->sent_at = nanoseconds(); c->is_post = chance() % 100 < 20; c->status = 0; c->broken = 0;
    c->wanted = chance() % 100 == 0 ? 100000 + chance() % 100000 : 10 + chance() % 500;
    int body = !c->is_post ? 0 : chance() % 50 == 0 ? 50000 + chance() % 100000 : 10 + chance() % 2000;
    c->closes = chance() % 100 == 0; c->body = body_of(c->id);
    c->out_head = snprintf(c->out, sizeof c->out, "%s %s/s/%u/%d HTTP/1.1\r\nHost: chaos\r\n%s", c->is_post ? "POST" : "GET", prefix, c->id, c->wanted, c->closes ? "Connection: close\r\n" : "");
    if (c->is_post) c->out_head += snprintf(c->out + c->out_head, sizeof c->out - c->out_head, "Content-Length: %d\r\n", body);
    c->out_head += snprintf(c->out + c->out_head, sizeof c->out - c->out_head, "\r\n");
    c->total = c->out_head + body; c->sent = c->have = c->head = c->checked = 0;
    l->word[c->is_post ? POSTS : GETS]++; l->word[UNDER_WAY]++; l->request[c->id] = SENT | (c->is_post ? POST : 0); c->state = BUSY;
}
static int open_connection(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); c->reused = 0; l->word[OPENED]++;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) return -1;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c}; return epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}
static void ready(struct connection *c, uint32_t events) {
    if (c->state == CLOSED) return;
    int error = 0; socklen_t size = sizeof error;
    if (!c->reused && !c->have && events & (EPOLLERR | EPOLLHUP) && !getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) && error == ECONNREFUSED) {
        l->word[REFUSED]++; return lose(c, "refused");
    }
    if (c->state == IDLE) { if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) { close(c->fd); c->fd = -1; } return; }
    push(c);
    while (1) {
        ssize_t r = recv(c->fd, c->in + c->have, BODY + 4096 - c->have, 0);
        if (r < 0 && errno == EAGAIN) return;
        if (r <= 0) return lose(c, r == 0 ? "closed without an answer" : strerror(errno));
        c->have += r; c->in[c->have] = 0;
        if (!c->head) {
            char *end = strstr(c->in, "\r\n\r\n"); if (!end) continue;
            c->head = end + 4 - c->in; c->status = atoi(c->in + 9); *end = 0;
            char *field = strcasestr(c->in, "content-length:"); c->checked = field ? atoi(field + 15) : -1;
            if (strcasestr(c->in, "connection: close")) c->closes = 1;
            *end = '\r';
        }
        if (c->checked < 0 || c->have > c->head + c->checked) { l->word[WRONG]++; return lose(c, "an answer without a length, or longer than it says"); }
        if (c->have < c->head + c->checked) continue;
        if (c->status == 200 && c->checked == c->wanted && !memcmp(c->in + c->head, body_of(c->id), c->wanted)) { if (c->wanted + c->total < 10000) observe(nanoseconds() - c->due); finish(c, OK); }
        else { if (c->status == 200) l->word[WRONG]++; if (c->status == 504) l->word[TIMEOUTS]++; complain(c, c->status == 200 ? "a wrong body" : "failed"); finish(c, FAILED); }
        if (c->closes || c->broken || c->sent < c->total) { drop(c); return; }
        c->state = IDLE; c->reused = 1; idle[idles++] = c; return;
    }
}
int main(int argc, char **argv) {
    if (argc < 7) return 64;
    raise_limits(); make_pattern(); port = atoi(argv[1]); double rate = atof(argv[2]); count = atoi(argv[3]); seed = strtoull(argv[4], 0, 10); l = open_ledger(argv[5]); prefix = argv[6];
    ep = epoll_create1(EPOLL_CLOEXEC); all = calloc(count, sizeof *all); idle = calloc(count, sizeof *idle);
    for (int i = 0; i < count; i++) { all[i].fd = -1; all[i].state = IDLE; all[i].in = malloc(BODY + 4097); idle[idles++] = &all[i]; }
    uint64_t start = nanoseconds(), number = 0, paused = 0;
    while (!l->word[QUIT] || l->word[UNDER_WAY]) {
        uint64_t now = nanoseconds();
        if (l->word[PAUSE] || l->word[QUIT]) { start = now; number = 0; paused = 1; }
        // Every quarter of a millisecond what falls into it is sent.
        uint64_t due = start;
        while (!l->word[PAUSE] && !l->word[QUIT] && idles && (due = start + (uint64_t)(number / rate * 4000 + 1) * 250000) <= now) {
            // What this program itself could not send in time is not made up for by a flood.
            if (now - due > 100000000) { start = now; number = 0; break; }
            struct connection *c = idle[--idles]; number++;
            int fresh = c->fd < 0; begin(c, due);
            if (fresh && open_connection(c)) { if (errno == ECONNREFUSED) l->word[REFUSED]++; lose(c, "connect"); continue; }
            if (!fresh) push(c);
        }
        (void)paused;
        int64_t wait = l->word[PAUSE] || l->word[QUIT] || !idles ? 1000000 : (int64_t)(due - nanoseconds()); if (wait < 0) wait = 0;
        struct epoll_event events[256]; int n = epoll_pwait2(ep, events, 256, &(struct timespec){wait / 1000000000, wait % 1000000000}, 0);
        for (int k = 0; k < n; k++) ready(events[k].data.ptr, events[k].events);
    }
    return 0;
}
