-- needs extension: plpython3u
-- needs superuser: plpython3u is not trusted
-- requires: is_public_address
-- send_to_address(address, headers, payload, allow_private): one request to http:// or https:// (the fragment is not
-- sent), or one e-mail by smtp:// or smtps://. Never raises for what the network or the other side does:
--   outcome              delivered, retry (network, 408, 425, 5xx), rate_limited (429) or rejected (all else)
--   http_status          NULL without an answer in HTTP
--   retry_after_seconds  what the other side asks for, 0 to 3600; NULL when it does not
--   error                one line, naming the host at most; NULL when delivered
-- p_headers: a JSON object: of HTTP headers, or of an e-mail its Subject and To (separated by commas).
-- It never follows a redirect and asks no proxy. Unless p_allow_private, it connects to addresses of the public
-- Internet alone, and looks at the very address it connects to. All in all it takes at most 20 s, besides the look-up
-- of the name, which the system's resolver limits.
CREATE OR REPLACE FUNCTION send_to_address(
    p_address       TEXT,
    p_headers       JSONB,
    p_payload       TEXT,
    p_allow_private BOOLEAN,
    OUT outcome             TEXT,
    OUT http_status         INTEGER,
    OUT retry_after_seconds NUMERIC,
    OUT error               TEXT,
    OUT duration_ms         NUMERIC
)
LANGUAGE plpython3u
VOLATILE
STRICT
SET search_path FROM CURRENT
AS $$
import base64
import email.message
import email.utils
import http.client
import io
import json
import os
import smtplib
import socket
import ssl
import time
import urllib.parse

CONNECT_S, ANSWER_S, TOTAL_S, LONGEST_PAUSE_S = 5, 10, 20, 3600
begun = time.monotonic()


class Failure(Exception):
    """Ends the attempt with an outcome and an error in words of our own."""


class Reader(io.RawIOBase):
    """What comes in on a socket, until the time is up."""

    def __init__(self, sock):
        self.sock = sock

    def readable(self):
        return True

    def readinto(self, buffer):
        self.sock.settimeout(min(ANSWER_S, remaining()))
        return self.sock.recv_into(buffer)


class Line:
    """A connected socket as http.client and smtplib use it; whatever it does ends when the time is up."""

    def __init__(self, sock):
        self.sock = sock

    def sendall(self, data):
        self.sock.settimeout(min(ANSWER_S, remaining()))
        self.sock.sendall(data)

    def makefile(self, mode):
        return io.BufferedReader(Reader(self.sock))

    def close(self):
        self.sock.close()


def remaining():
    left = begun + TOTAL_S - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def is_public(address):
    plan = plpy.prepare('SELECT is_public_address($1) AS answer', ['inet'])
    return plan.execute([address.partition('%')[0]])[0]['answer']


def connected(host, port):
    failure = None
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not (p_allow_private or is_public(place[0])):
            raise Failure('rejected', f'{host} is in a private network, and the webhook does not allow that')
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(CONNECT_S, remaining()))
            sock.connect(place)
            return sock
        except OSError as exc:
            sock.close()
            failure = exc
    raise failure


def secured(sock, host):
    sock.settimeout(min(ANSWER_S, remaining()))
    return ssl.create_default_context().wrap_socket(sock, server_hostname=host)


def asked_pause(headers):
    """Seconds of Retry-After; a date in it counts from the answer's own."""
    asked = headers.get('Retry-After', '').strip()
    if asked.isascii() and asked.isdigit():
        return min(int(asked[:9]), LONGEST_PAUSE_S)
    try:
        until = email.utils.parsedate_to_datetime(asked)
        since = email.utils.parsedate_to_datetime(headers['Date'])
        return min(max((until - since).total_seconds(), 0), LONGEST_PAUSE_S)
    except (TypeError, ValueError):
        return None


def post(url):
    host, is_tls = url.hostname, url.scheme == 'https'
    make = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
    port = url.port or make.default_port
    connection = make(host, port)
    sock = connected(host, port)
    connection.sock = Line(secured(sock, host) if is_tls else sock)
    try:
        target = urllib.parse.urlunsplit(('', '', url.path or '/', url.query, ''))
        headers = {'Content-Type': 'application/json', 'User-Agent': 'pggit_analytics', **json.loads(p_headers)}
        if url.username:
            pair = f'{urllib.parse.unquote(url.username)}:{urllib.parse.unquote(url.password or "")}'
            headers['Authorization'] = f'Basic {base64.b64encode(pair.encode()).decode()}'
        connection.request('POST', target, p_payload.encode(), headers)
        answer = connection.getresponse()
    finally:
        connection.close()
    status = answer.status
    if 200 <= status < 300:
        return 'delivered', status, None, None
    outcome = 'rejected'
    if status == 429:
        outcome = 'rate_limited'
    elif status in (408, 425) or status >= 500:
        outcome = 'retry'
    redirected = ' (a redirect, which is not followed)' if 300 <= status < 400 else ''
    return outcome, status, asked_pause(answer.headers), f'{host} answered HTTP {status}{redirected}'


def letter(sender, headers):
    message = email.message.EmailMessage()
    message['From'], message['To'], message['Subject'] = sender, headers['To'], headers['Subject']
    message['Date'] = email.utils.formatdate()
    message['Message-ID'] = email.utils.make_msgid(domain=sender.rpartition('@')[2])
    message.set_content(p_payload)
    return message


def start_tls(smtp, sock, host):
    smtp.ehlo_or_helo_if_needed()
    if not smtp.has_extn('starttls'):
        raise Failure('rejected', f'{host} offers no STARTTLS')
    code, text = smtp.docmd('STARTTLS')
    if code != 220:
        raise smtplib.SMTPResponseException(code, text)
    smtp.sock, smtp.file = Line(secured(sock, host)), None
    # what was said before TLS does not count
    smtp.ehlo_resp, smtp.helo_resp, smtp.esmtp_features, smtp.does_esmtp = None, None, {}, False


def mail(url):
    host, headers = url.hostname, json.loads(p_headers)
    options = {name: urllib.parse.unquote(value) for name, _, value in (o.partition('=') for o in url.query.split('&'))}
    is_plain = options.get('tls') == 'none'
    sock = connected(host, url.port or (465 if url.scheme == 'smtps' else 25 if is_plain else 587))
    # without a name of its own it would ask the resolver for one
    smtp = smtplib.SMTP(local_hostname='[127.0.0.1]')
    smtp.sock = Line(secured(sock, host) if url.scheme == 'smtps' else sock)
    try:
        code, text = smtp.getreply()
        if code != 220:
            raise smtplib.SMTPResponseException(code, text)
        if url.scheme == 'smtp' and not is_plain:
            start_tls(smtp, sock, host)
        if url.username:
            smtp.login(urllib.parse.unquote(url.username), urllib.parse.unquote(url.password or ''))
        sender = options['from']
        recipients = [recipient.strip() for recipient in headers['To'].split(',')]
        refused = smtp.send_message(letter(sender, headers), sender, recipients)
    finally:
        smtp.close()
    note = f'{host} refused {len(refused)} of {len(recipients)} recipients' if refused else None
    return 'delivered', None, None, note


def attempt(url):
    host = url.hostname
    try:
        return mail(url) if url.scheme in ('smtp', 'smtps') else post(url)
    except Failure as exc:
        outcome, text = exc.args
    except smtplib.SMTPRecipientsRefused as exc:
        codes = {code for code, _ in exc.recipients.values()}
        outcome, text = 'rejected' if min(codes) >= 500 else 'retry', f'{host} refused every recipient'
    except smtplib.SMTPResponseException as exc:
        outcome, text = 'rejected' if exc.smtp_code >= 500 else 'retry', f'{host} answered SMTP {exc.smtp_code}'
    except smtplib.SMTPNotSupportedError:
        outcome, text = 'rejected', f'{host} offers no way to log in'
    except (smtplib.SMTPException, http.client.HTTPException):
        outcome, text = 'retry', f'{host} ended the connection or does not speak the protocol'
    except socket.gaierror:
        outcome, text = 'retry', f'the name {host} cannot be resolved'
    except ssl.SSLCertVerificationError:
        outcome, text = 'retry', f'the certificate of {host} is not accepted'
    except ssl.SSLError:
        outcome, text = 'retry', f'no TLS with {host}'
    except TimeoutError:
        outcome, text = 'retry', f'{host} did not answer in time'
    except OSError as exc:
        outcome, text = 'retry', f'no connection to {host}: {os.strerror(exc.errno) if exc.errno else type(exc).__name__}'
    return outcome, None, None, text


outcome, status, pause, text = attempt(urllib.parse.urlsplit(p_address))
return outcome, status, pause, text, round((time.monotonic() - begun) * 1000, 3)
$$;

COMMENT ON FUNCTION send_to_address(TEXT, JSONB, TEXT, BOOLEAN) IS 'pggit_analytics: one request or e-mail';
REVOKE ALL ON FUNCTION send_to_address(TEXT, JSONB, TEXT, BOOLEAN) FROM PUBLIC;
