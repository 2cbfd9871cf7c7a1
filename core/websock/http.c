/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * websock/http.c: the heads of HTTP/1.1 requests and responses.
 *
 * Owns: their grammar.  Rule: every function is linear in what it is given.  Pure.
 */
#include <glib.h>
#include <string.h>
#include "websock/http.h"

/* ---- as it comes ---- */

static ssize_t scan_failed(QIOHttpScan *scan, unsigned status, const char *problem)
{
    scan->status = status;
    scan->problem = problem;
    return -1;
}

/* A whole line of that length, its CR LF not counted.  Returns: 1 it was the blank one, 0, -1 */
static int line_ends(QIOHttpScan *scan)
{
    size_t length = scan->line_length;

    scan->line_length = 0;
    if (length == 0) {
        return scan->lines > 0 ? 1 : (int)scan_failed(scan, 400, "the first line is empty");
    }
    if (++scan->lines > QIO_HTTP_FIELDS_MAX + 1) {
        return (int)scan_failed(scan, 431, "more than 64 header fields");
    }
    return 0;
}

static const char *judge_byte(const QIOHttpScan *scan, unsigned char byte)
{
    if (scan->after_cr) {
        return byte == '\n' ? NULL : "a carriage return without a line feed";
    }
    if (byte == '\n') {
        return "a line feed without a carriage return";
    }
    if ((byte < ' ' && byte != '\t' && byte != '\r') || byte == 0x7f) {
        return "a control byte";
    }
    if (scan->line_length == 0 && (byte == ' ' || byte == '\t')) {
        return "a line begins with a space";
    }
    return NULL;
}

ssize_t qio_http_scan(QIOHttpScan *scan, const char *bytes, size_t len)
{
    const char *problem;
    int ended;

    while (scan->scanned < len) {
        unsigned char byte = (unsigned char)bytes[scan->scanned];

        if (scan->scanned >= QIO_HTTP_HEAD_MAX) {
            return scan_failed(scan, 431, "more than 8 KiB of header");
        }
        problem = judge_byte(scan, byte);
        if (problem) {
            return scan_failed(scan, 400, problem);
        }
        scan->scanned++;
        if (byte == '\n') {
            scan->after_cr = false;
            ended = line_ends(scan);
            if (ended != 0) {
                return ended > 0 ? (ssize_t)scan->scanned : -1;
            }
        } else if (byte == '\r') {
            scan->after_cr = true;
        } else {
            scan->line_length++;
        }
    }
    return 0;
}

/* ---- as a whole ---- */

static bool is_token_char(unsigned char c)
{
    return g_ascii_isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool qio_http_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_token_char((unsigned char)text[i])) {
            return false;
        }
    }
    return len > 0;
}

/* Cuts the spaces off the end of [start, end), ends it there and gives its start without any. */
static char *trim(char *start, char *end)
{
    while (start < end && (*start == ' ' || *start == '\t')) {
        start++;
    }
    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    *end = '\0';
    return start;
}

/* Takes the lines after the first, the blank one at the end. */
static const char *parse_fields(QIOHttpHead *head, char *line)
{
    while (line[0] != '\r') {
        char *end = strstr(line, "\r\n");
        char *colon = memchr(line, ':', (size_t)(end - line));
        QIOHttpField *field = &head->fields[head->nfields++];

        if (!colon || !qio_http_is_token(line, (size_t)(colon - line))) {
            return "a header line that is not \"name: value\"";
        }
        *colon = '\0';
        field->name = line;
        line = end + 2;
        field->value = trim(colon + 1, end);
    }
    return NULL;
}

/* "HTTP/1.1": 0; another version: 505; something else: 400 */
static unsigned judge_version(const char *text)
{
    if (strcmp(text, "HTTP/1.1") == 0) {
        return 0;
    }
    return strncmp(text, "HTTP/", 5) == 0 && g_ascii_isdigit(text[5]) && text[6] == '.' &&
           g_ascii_isdigit(text[7]) && text[8] == '\0' ? 505 : 400;
}

/* "http://host/path", which a server has to take as well (RFC 9112, 3.2.2).  The "//" makes room
 * for the end of the host, and for a path that is missing before a query. */
static void parse_absolute(QIOHttpHead *head, char *target)
{
    static const char *const schemes[] = { "http://", "https://", "ws://", "wss://" };
    char *host, *path;
    size_t len;

    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
        if (g_ascii_strncasecmp(target, schemes[i], strlen(schemes[i])) != 0) {
            continue;
        }
        host = target + strlen(schemes[i]);
        len = strcspn(host, "/?");
        if (len == 0) {
            return;
        }
        path = host + len;
        memmove(host - 2, host, len);
        host[len - 2] = '\0';
        head->authority = host - 2;
        if (*path != '/') {
            *--path = '/';
        }
        head->target = path;
        return;
    }
}

static const char *parse_request_line(QIOHttpHead *head, char *line, unsigned *status)
{
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;

    *status = 400;
    if (!version || strchr(version + 1, ' ') || strchr(line, '\t')) {
        return "the first line is not \"method target version\"";
    }
    *target++ = '\0';
    *version++ = '\0';
    if (!qio_http_is_token(line, strlen(line))) {
        return "the method is no token";
    }
    for (const char *p = target; *p; p++) {
        if (*p <= ' ' || *p > '~') {
            return "a byte in the target that has to be percent-encoded";
        }
    }
    if (target[0] == '\0') {
        return "there is no path";
    }
    *status = judge_version(version);
    if (*status != 0) {
        return "the version is not HTTP/1.1";
    }
    head->method = line;
    head->target = target;
    parse_absolute(head, target);
    return NULL;
}

static const char *parse_status_line(QIOHttpHead *head, char *line, unsigned *status)
{
    char *code = strchr(line, ' ');

    *status = 400;
    if (!code || !g_ascii_isdigit(code[1]) || !g_ascii_isdigit(code[2]) ||
        !g_ascii_isdigit(code[3]) || (code[4] != ' ' && code[4] != '\0')) {
        return "the first line is not \"version status reason\"";
    }
    *code++ = '\0';
    if (judge_version(line) != 0) {
        return "the version is not HTTP/1.1";
    }
    head->status = (unsigned)((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'));
    head->reason = code[3] == ' ' ? code + 4 : code + 3;
    *status = 0;
    return NULL;
}

static QIOHttpHead *parse(const char *bytes, size_t len, bool request, unsigned *status,
                          const char **problem)
{
    QIOHttpHead *head = g_try_new0(QIOHttpHead, 1);
    char *end;

    *status = 500;
    *problem = "no memory";
    if (!head || !(head->text = g_try_malloc(len + 1))) {
        g_free(head);
        return NULL;
    }
    memcpy(head->text, bytes, len);
    head->text[len] = '\0';
    end = strstr(head->text, "\r\n");
    *end = '\0';
    *problem = request ? parse_request_line(head, head->text, status)
                       : parse_status_line(head, head->text, status);
    if (!*problem) {
        *problem = parse_fields(head, end + 2);
        *status = *problem ? 400 : 0;
    }
    if (*problem) {
        qio_http_head_free(head);
        return NULL;
    }
    return head;
}

QIOHttpHead *qio_http_parse_request(const char *bytes, size_t len, unsigned *status,
                                    const char **problem)
{
    return parse(bytes, len, true, status, problem);
}

QIOHttpHead *qio_http_parse_response(const char *bytes, size_t len, unsigned *status,
                                     const char **problem)
{
    return parse(bytes, len, false, status, problem);
}

void qio_http_head_free(QIOHttpHead *head)
{
    if (head) {
        g_free(head->text);
        g_free(head);
    }
}

/* ---- looking up ---- */

const char *qio_http_get(const QIOHttpHead *head, const char *name, unsigned *count)
{
    const char *value = NULL;
    unsigned n = 0;

    for (unsigned i = 0; i < head->nfields; i++) {
        if (g_ascii_strcasecmp(head->fields[i].name, name) == 0) {
            value = n++ == 0 ? head->fields[i].value : value;
        }
    }
    if (count) {
        *count = n;
    }
    return value;
}

char *qio_http_get_all(const QIOHttpHead *head, const char *name)
{
    GString *all = NULL;

    for (unsigned i = 0; i < head->nfields; i++) {
        if (g_ascii_strcasecmp(head->fields[i].name, name) == 0) {
            if (all) {
                g_string_append(all, ", ");
            } else {
                all = g_string_new(NULL);
            }
            g_string_append(all, head->fields[i].value);
        }
    }
    return all ? g_string_free(all, FALSE) : NULL;
}

bool qio_http_next_item(const char **list, const char **item, size_t *len)
{
    const char *p = *list + strspn(*list, " \t,");
    size_t n = strcspn(p, ",");

    *list = p + n;
    *item = p;
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
        n--;
    }
    *len = n;
    return n > 0;
}

bool qio_http_has_token(const QIOHttpHead *head, const char *name, const char *token)
{
    for (unsigned i = 0; i < head->nfields; i++) {
        const char *list = head->fields[i].value;
        const char *item;
        size_t len;

        if (g_ascii_strcasecmp(head->fields[i].name, name) != 0) {
            continue;
        }
        while (qio_http_next_item(&list, &item, &len)) {
            if (len == strlen(token) && g_ascii_strncasecmp(item, token, len) == 0) {
                return true;
            }
        }
    }
    return false;
}
