/* tortie-cni: what a container runtime executes. It knows nothing of networking: it hands the runtime's request and the pod's
 * network namespace to the node's agent over a unix socket, prints the agent's answer, and exits with its status.
 *
 * It must start in a millisecond, so it parses no JSON: of the configuration it looks only for two keys by their text, and of
 * the answer it relies on the order that cni/protocol.py promises. Every wait ends at one deadline.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/tortie/cni.sock"
#define NEWEST_VERSION "1.1.0"
#define LIMIT (1u << 20)
#define HEADER 12
#define TIMEOUT_SECONDS 120
#define PROTOCOL_VERSION 1u

enum { INVALID_ENVIRONMENT = 4, IO_FAILURE = 5, INVALID_CONFIG = 7, TRY_AGAIN_LATER = 11, NOT_AVAILABLE = 50, INTERNAL = 999 };

static const char *const versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};

extern char **environ;

struct text {
    char *data;
    size_t size, room;
};

static char spoken_version[8] = NEWEST_VERSION; /* the cniVersion of our own answers */
static struct timespec deadline;

/* ---- text that grows ---- */
static void append(struct text *text, const char *data, size_t size)
{
    if (size > SIZE_MAX / 2 - text->size)
        _exit(1);
    if (text->size + size + 1 > text->room) {
        size_t room = (text->size + size + 1) * 2;
        char *grown = realloc(text->data, room);
        if (grown == NULL)
            _exit(1);
        text->data = grown;
        text->room = room;
    }
    if (size > 0)
        memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
}

static void append_text(struct text *text, const char *data)
{
    append(text, data, strlen(data));
}

/* A JSON string. Bytes above 0x7f pass as they are: the agent refuses what is not UTF-8. */
static void append_json(struct text *text, const char *data, size_t size)
{
    append_text(text, "\"");
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)data[i];
        char escaped[8];
        if (c == '"' || c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            append(text, escaped, 2);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
            append_text(text, escaped);
        } else {
            append(text, data + i, 1);
        }
    }
    append_text(text, "\"");
}

/* ---- output ---- */
static void print_all(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(STDOUT_FILENO, data, size);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            _exit(1);
        }
        data += written;
        size -= (size_t)written;
    }
}

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int code, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    struct text out = {0};
    char number[16];
    snprintf(number, sizeof number, "%d", code);
    append_text(&out, "{\"cniVersion\":\"");
    append_text(&out, spoken_version);
    append_text(&out, "\",\"code\":");
    append_text(&out, number);
    append_text(&out, ",\"msg\":");
    append_json(&out, message, strlen(message));
    append_text(&out, "}\n");
    print_all(out.data, out.size);
    exit(1);
}

/* ---- the deadline ---- */
static int remaining_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long left = (deadline.tv_sec - now.tv_sec) * 1000LL + (deadline.tv_nsec - now.tv_nsec) / 1000000;
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

/* 1: ready; 0: out of time. */
static int wait_for(int fd, short events)
{
    for (;;) {
        struct pollfd one = {.fd = fd, .events = events};
        int left = remaining_ms();
        if (left == 0)
            return 0;
        int ready = poll(&one, 1, left);
        if (ready > 0)
            return 1;
        if (ready < 0 && errno != EINTR)
            return 0;
    }
}

/* ---- the configuration ---- */
static void read_input(struct text *input)
{
    char piece[4096];
    for (;;) {
        if (!wait_for(STDIN_FILENO, POLLIN))
            fail(IO_FAILURE, "the network configuration did not arrive on standard input in time");
        ssize_t size = read(STDIN_FILENO, piece, sizeof piece);
        if (size < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (size < 0)
            fail(IO_FAILURE, "cannot read standard input: %s", strerror(errno));
        if (size == 0)
            return;
        append(input, piece, (size_t)size);
        if (input->size > LIMIT / 2)
            fail(INVALID_CONFIG, "the network configuration is longer than %u bytes", LIMIT / 2);
    }
}

/* Value of the first `"key": "value"`; 0 if there is none that fits, or it has an escape in it. */
static int find_text(const struct text *input, const char *key, char *value, size_t room)
{
    size_t length = strlen(key);
    const char *at = input->data, *end = input->data + input->size;
    while (at != NULL && (at = memmem(at, (size_t)(end - at), key, length)) != NULL) {
        at += length;
        const char *p = at;
        while (p < end && strchr(" \t\r\n", *p) != NULL && *p != '\0')
            p++;
        if (p == end || *p++ != ':')
            continue;
        while (p < end && strchr(" \t\r\n", *p) != NULL && *p != '\0')
            p++;
        if (p == end || *p++ != '"')
            continue;
        const char *close = memchr(p, '"', (size_t)(end - p));
        if (close == NULL || (size_t)(close - p) >= room || memchr(p, '\\', (size_t)(close - p)) || memchr(p, 0, (size_t)(close - p)))
            return 0;
        memcpy(value, p, (size_t)(close - p));
        value[close - p] = '\0';
        return 1;
    }
    return 0;
}

static void learn_version(const struct text *input)
{
    char found[16];
    if (input->data == NULL || !find_text(input, "\"cniVersion\"", found, sizeof found))
        return;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (strcmp(found, versions[i]) == 0)
            snprintf(spoken_version, sizeof spoken_version, "%s", versions[i]);
}

__attribute__((noreturn)) static void print_versions(void)
{
    struct text out = {0};
    append_text(&out, "{\"cniVersion\":\"");
    append_text(&out, spoken_version);
    append_text(&out, "\",\"supportedVersions\":[");
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        append_text(&out, i ? ",\"" : "\"");
        append_text(&out, versions[i]);
        append_text(&out, "\"");
    }
    append_text(&out, "]}\n");
    print_all(out.data, out.size);
    exit(0);
}

/* ---- the agent ---- */
static const char *socket_path(const struct text *input, char *room, size_t size)
{
    const char *path = getenv("TORTIE_CNI_SOCKET");
    if (path != NULL && *path != '\0')
        return path;
    if (input->data != NULL && find_text(input, "\"tortie_socket\"", room, size))
        return room;
    return DEFAULT_SOCKET;
}

static int connect_agent(const char *path, int unreachable)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail(INVALID_CONFIG, "the path of the agent's socket is longer than %zu bytes: %.200s", sizeof address.sun_path - 1, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail(INTERNAL, "cannot make a socket: %s", strerror(errno));
    while (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        /* EAGAIN: its queue is full, which passes. Nothing else does by waiting. */
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || remaining_ms() == 0)
            fail(unreachable, "the agent of this node cannot be reached at %s: %s", path, strerror(errno));
        poll(NULL, 0, 20);
    }
    return fd;
}

static void build_call(struct text *frame, const char *command, const struct text *input)
{
    char empty[HEADER] = {0};
    append(frame, empty, HEADER);
    append_text(frame, "{\"version\":1,\"command\":");
    append_json(frame, command, strlen(command));
    append_text(frame, ",\"program\":");
    append_json(frame, program_invocation_short_name, strlen(program_invocation_short_name));
    append_text(frame, ",\"env\":{");
    int count = 0;
    for (char **entry = environ; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, "CNI_", 4) != 0 || equals == NULL)
            continue;
        if (count++ > 0)
            append_text(frame, ",");
        append_json(frame, *entry, (size_t)(equals - *entry));
        append_text(frame, ":");
        append_json(frame, equals + 1, strlen(equals + 1));
    }
    append_text(frame, "},\"config\":");
    append_json(frame, input->data == NULL ? "" : input->data, input->size);
    append_text(frame, "}");
    if (frame->size - HEADER > LIMIT)
        fail(INVALID_CONFIG, "environment and network configuration are longer than %u bytes", LIMIT);
    uint32_t version = htonl(PROTOCOL_VERSION), length = htonl((uint32_t)(frame->size - HEADER));
    memcpy(frame->data, "TCNI", 4);
    memcpy(frame->data + 4, &version, 4);
    memcpy(frame->data + 8, &length, 4);
}

static void send_call(int fd, const struct text *frame, int passed, int unreachable)
{
    size_t sent = 0;
    while (sent < frame->size) {
        if (!wait_for(fd, POLLOUT))
            fail(unreachable, "the agent of this node does not take the request");
        union {
            struct cmsghdr align;
            char room[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec piece = {.iov_base = frame->data + sent, .iov_len = frame->size - sent};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        if (sent == 0 && passed >= 0) {
            message.msg_control = control.room;
            message.msg_controllen = sizeof control.room;
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &passed, sizeof(int));
        }
        ssize_t size = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (size < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (size < 0) /* it may have refused us and answered already: the answer tells more than this error */
            return;
        sent += (size_t)size;
    }
}

/* Exactly `size` bytes, or an error. */
static void receive(int fd, char *data, size_t size, int unreachable)
{
    while (size > 0) {
        if (!wait_for(fd, POLLIN))
            fail(unreachable, "the agent of this node did not answer within %d seconds", TIMEOUT_SECONDS);
        ssize_t got = recv(fd, data, size, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            fail(unreachable, "the agent of this node closed the connection without an answer");
        data += got;
        size -= (size_t)got;
    }
}

__attribute__((noreturn)) static void relay_answer(int fd, int unreachable)
{
    char header[HEADER];
    uint32_t version, length;
    receive(fd, header, HEADER, unreachable);
    memcpy(&version, header + 4, 4);
    memcpy(&length, header + 8, 4);
    length = ntohl(length);
    if (memcmp(header, "TCNI", 4) != 0 || ntohl(version) != PROTOCOL_VERSION || length > LIMIT)
        fail(unreachable, "what listens on the agent's socket does not speak version %u of its protocol", PROTOCOL_VERSION);
    char *body = calloc(1, (size_t)length + 1);
    if (body == NULL)
        _exit(1);
    receive(fd, body, length, unreachable);
    int status = 0, prefix = 0;
    if (sscanf(body, "{\"version\":1,\"exit\":%3d,\"result\":%n", &status, &prefix) != 1 || prefix == 0 || body[length - 1] != '}')
        fail(INTERNAL, "the answer of this node's agent is not understood");
    const char *result = body + prefix;
    size_t size = (size_t)length - (size_t)prefix - 1;
    if (!(size == 4 && memcmp(result, "null", 4) == 0)) {
        print_all(result, size);
        print_all("\n", 1);
    }
    exit(status);
}

int main(void)
{
    struct text input = {0}, frame = {0};
    char from_config[128];
    signal(SIGPIPE, SIG_IGN);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += TIMEOUT_SECONDS;
    const char *command = getenv("CNI_COMMAND");
    if (command == NULL || *command == '\0')
        fail(INVALID_ENVIRONMENT, "CNI_COMMAND is not set: a container runtime executes this program, people use tortie");
    read_input(&input);
    learn_version(&input);
    if (strcmp(command, "VERSION") == 0)
        print_versions();
    int unreachable = strcmp(command, "STATUS") == 0 ? NOT_AVAILABLE : TRY_AGAIN_LATER;
    int passed = -1;
    const char *netns = getenv("CNI_NETNS");
    if (netns != NULL && *netns != '\0') {
        passed = open(netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        /* DEL must succeed for a namespace that is gone already. */
        if (passed < 0 && (strcmp(command, "ADD") == 0 || strcmp(command, "CHECK") == 0))
            fail(INVALID_ENVIRONMENT, "CNI_NETNS %.500s cannot be opened: %s", netns, strerror(errno));
    }
    build_call(&frame, command, &input);
    int agent = connect_agent(socket_path(&input, from_config, sizeof from_config), unreachable);
    send_call(agent, &frame, passed, unreachable);
    relay_answer(agent, unreachable);
}
