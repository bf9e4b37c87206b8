"""Synergist's wire format as its public pages give it: forms in, envelopes out. No state, no network.

Where the pages leave a choice open (the shape of an error, the case of member names) a *dialect* picks one, so that a
fleet of these instances shows a client all of them.
"""
import email.parser
import email.policy
import html
import json
import urllib.parse

ERRORS = {
    404001: "no credentials supplied",
    404002: "invalid credentials supplied",
    404003: "account disabled",
    404004: "request not recognised",
}
# Shapes of an error. Documented: XML at HTTP 404 even for JSON calls, the older XML, a JSON envelope; a bare page is
# what a proxy or a stopped server in front gives.
DIALECTS = ("xml", "json", "xml-old", "json-capitals", "html")


class ApiError(Exception):
    """An error that the API documents: a number and a text."""

    def __init__(self, number, text=None):
        super().__init__(text or ERRORS[number])
        self.number, self.text = number, text or ERRORS[number]


def parse_parameters(query, content_type, body):
    """Returns the parameters of a call: names in lower case, values as text. Query and body count the same."""
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    kind = (content_type or "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        pairs += parse_multipart(content_type, body)
    elif body:
        pairs += urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name.lower(): value for name, value in pairs}


def parse_multipart(content_type, body):
    """Yields (name, value) of each part of a multipart/form-data body."""
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise ApiError(404004)
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if name is not None:
            yield name, (part.get_payload(decode=True) or b"").decode("utf-8", "replace")


def parse_input(text):
    """Returns the list of records in `input`, member names in lower case."""
    try:
        records = json.loads(text)["data"]
        return [{name.lower(): value for name, value in record.items()} for record in records]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ApiError(404004) from None


def capitals(envelope):
    return {name[:1].upper() + name[1:]: value for name, value in envelope.items()}


def read_envelope(rows):
    return {"responsecode": 1, "responsestatus": "OK", "errorcode": 0, "errormessage": "", "totalrows": len(rows),
            "totalpages": 1, "responsemessage": "", "pagerows": len(rows), "pagenumber": 1, "success": True, "data": rows}


def write_envelope(rows):
    return {"responsecode": 1, "responsestatus": "OK", "errorcode": 0, "errormessage": "",
            "responsemessage": "data processed successfully.", "warningmessage": "", "success": True, "data": rows}


def encode_success(envelope, dialect):
    """Returns (status, content type, body)."""
    if dialect == "json-capitals":
        envelope = capitals(envelope)
    return 200, "application/json; charset=utf-8", json.dumps(envelope).encode()


def encode_error(error, dialect):
    """Returns (status, content type, body)."""
    text = html.escape(error.text)
    if dialect == "xml":
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Responses><Error ErrorID="{error.number}"><ErrorText>{text}' \
               "</ErrorText></Error></Responses>"
        return 404, "text/xml; charset=utf-8", body.encode()
    if dialect == "xml-old":
        body = f"<Errors><Error><ErrorID>{error.number}</ErrorID><ErrorText>{text}</ErrorText></Error></Errors>"
        return 404, "text/xml; charset=utf-8", body.encode()
    if dialect == "html":
        return 404, "text/html", f"<html><body><h1>404</h1><p>{error.number} {text}</p></body></html>".encode()
    envelope = {"responsecode": 0, "responsestatus": "Error", "errorcode": error.number, "errormessage": error.text,
                "success": False}
    if dialect == "json-capitals":
        return 404, "application/json", json.dumps(capitals(envelope)).encode()
    return 200, "application/json", json.dumps(envelope).encode()
