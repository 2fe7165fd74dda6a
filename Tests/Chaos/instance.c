// An instance that notes each request it has carried out, at once and in mapped memory.
// usage: instance ADDRESS PORT LEDGER         GET|POST /s/NUMBER/LENGTH answers the LENGTH bytes that belong to NUMBER; /health
#include "ledger.h"
enum { EXECUTED, BAD, POLLS, HEALTH, HEALTH_CHANGED_AT, DELAY_PERCENT, SEEN_HEALTH };
struct connection { int fd, have, size; char *in; uint32_t id; int length; uint64_t due; char *out; int left; const char *next; struct connection *later; };
static struct ledger *ledger; static struct connection *waiting; static int ep;

static void end(struct connection *c) {
    for (struct connection **p = &waiting; *p; p = &(*p)->later) if (*p == c) { *p = c->later; break; }
    close(c->fd); free(c->in); free(c->out); free(c);
}
static int flush(struct connection *c) {
    while (c->left) {
        ssize_t n = send(c->fd, c->next, c->left, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->next += n; c->left -= n;
    }
    free(c->out); c->out = 0; return 1;
}
static int answer(struct connection *c, int status, const char *body, int length) {
    c->out = malloc(length + 200);
    int head = sprintf(c->out, "HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n", status, length);
    memcpy(c->out + head, body, length); c->next = c->out; c->left = head + length;
    return flush(c);
}
// Carries out what has come: -1 the connection is over, 0 it waits.
static int serve(struct connection *c) {
    while (!c->out && !c->due) {
        c->in[c->have] = 0;
        char *end = strstr(c->in, "\r\n\r\n"); if (!end) return c->have >= c->size - 1 ? -1 : 0;
        char *field = strcasestr(c->in, "content-length:"); int length = field && field < end ? atoi(field + 15) : 0, head = end + 4 - c->in;
        if (head + length >= c->size) { c->size = head + length + 4096; c->in = realloc(c->in, c->size); }
        if (c->have < head + length) return 0;
        int is_poll = !strncmp(c->in, "GET /health", 11);
        if (is_poll) {
            ledger->word[POLLS]++;
            int bad = ledger->word[HEALTH] != 0;
            if (bad != (int)ledger->word[SEEN_HEALTH]) { ledger->word[HEALTH_CHANGED_AT] = nanoseconds(); ledger->word[SEEN_HEALTH] = bad; }
            c->have -= head; memmove(c->in, c->in + head, c->have);
            if (answer(c, bad ? 500 : 200, "ok", 2) < 0) return -1;
            continue;
        }
        char *path = strstr(c->in, "/s/"); unsigned id = 0; int wanted = 0;
        if (!path || sscanf(path, "/s/%u/%d", &id, &wanted) != 2 || id >= REQUESTS || wanted > BODY || memcmp(c->in + head, body_of(id), length)) {
            ledger->word[BAD]++; fprintf(stderr, "instance: a bad request: %.60s\n", c->in); return -1;
        }
        ledger->word[EXECUTED]++; ledger->request[id]++;
        c->have -= head + length; memmove(c->in, c->in + head + length, c->have);
        c->id = id; c->length = wanted;
        if (id * 2654435761u % 100 < ledger->word[DELAY_PERCENT]) {
            // Some take a while, so that there is always something under way.
            c->due = nanoseconds() + 1000000 + id * 40503u % 4000000; c->later = waiting; waiting = c; return 0;
        }
        if (answer(c, 200, body_of(id), wanted) < 0) return -1;
    }
    return 0;
}
int main(int argc, char **argv) {
    if (argc < 4) return 64;
    raise_limits(); make_pattern(); ledger = open_ledger(argv[3]); ep = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))}; inet_pton(AF_INET, argv[1], &at.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) { perror("instance: bind"); return 1; }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0}; epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    while (1) {
        struct epoll_event events[256]; int n = epoll_wait(ep, events, 256, waiting ? 1 : 1000);
        for (int k = 0; k < n; k++) {
            struct connection *c = events[k].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    c = calloc(1, sizeof *c); c->fd = fd; c->size = 8192; c->in = malloc(c->size); setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            int over = c->out && flush(c) < 0;
            while (!over) {
                ssize_t r = recv(c->fd, c->in + c->have, c->size - 1 - c->have, 0);
                if (r == 0 || (r < 0 && errno != EAGAIN)) { over = 1; break; }
                if (r < 0) break;
                c->have += r; if (serve(c) < 0) over = 1;
                if (c->have >= c->size - 1) break;
            }
            if (!over && serve(c) < 0) over = 1;
            if (over) end(c);
        }
        uint64_t now = nanoseconds();
        for (struct connection **p = &waiting; *p;) {
            struct connection *c = *p; if (c->due > now) { p = &c->later; continue; }
            *p = c->later; c->due = 0; c->later = 0;
            if (answer(c, 200, body_of(c->id), c->length) < 0 || serve(c) < 0) { end(c); p = &waiting; }
        }
    }
}
