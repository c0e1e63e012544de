#!/usr/bin/env python3
"""Reads the vectors of this folder with nothing but SPEC.md and the standard library. Exit 0: all of them hold."""
import base64
import hashlib
import json
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent


def sha256(data):
    return hashlib.sha256(data).digest()


def tagged(data):
    return "sha256:" + sha256(data).hex()


def sorted_ascii(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def jcs(value):
    """RFC 8785 for values without floats."""
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
        return "{" + ",".join(jcs(key) + ":" + jcs(member) for key, member in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(jcs, value)) + "]"
    if isinstance(value, float) or (type(value) is int and abs(value) > 2**53 - 1):
        raise ValueError("no JCS")
    # Python escapes DEL only when it escapes everything beyond ASCII too.
    return json.dumps(value, ensure_ascii=False)


def unpadded(text):
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text, "not canonical"
    return raw


def without(value, *keys):
    return {key: member for key, member in value.items() if key not in keys}


# Ed25519 as RFC 8032, section 5.1, describes it; slow and only for verifying.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def recover_x(y, sign):
    squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(squared, (P + 3) // 8, P)
    if (x * x - squared) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - squared) % P == 0, "not a point"
    return P - x if x % 2 != sign else x


def point(raw):
    number = int.from_bytes(raw, "little")
    y = number % 2**255
    return recover_x(y, number >> 255), y


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def times(scalar, a):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, a)
        a, scalar = add(a, a), scalar >> 1
    return result


BASE = (recover_x(4 * pow(5, -1, P) % P, 0), 4 * pow(5, -1, P) % P)


def signed(public, message, signature):
    s = int.from_bytes(signature[32:], "little")
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    return s < ORDER and times(s, BASE) == add(point(signature[:32]), times(challenge, point(public)))


def load(name):
    return json.loads((HERE / name).read_bytes())


def check_canonical():
    vectors = load("canonical.json")
    for case in vectors["accepted"]:
        value = json.loads(case["text"])
        assert sorted_ascii(value).decode() == case["sorted_ascii"], case
        try:
            assert jcs(value) == case["jcs"], case
        except ValueError:
            assert case["jcs"] is None, case


def check_hashes(public):
    vectors = load("hashes.json")
    key = vectors["key"]
    assert unpadded(key["x"]) == public
    assert key["kid"] == "cmcp-" + public.hex()[:8]
    assert key["subject"] == "spiffe://cmcp.gateway/tee/" + public.hex()[:16]
    thumbprint = sha256(sorted_ascii({"crv": "Ed25519", "kty": "OKP", "x": key["x"]}))
    assert thumbprint.hex() == key["thumbprint"]

    case = vectors["request_payload_hash"]
    assert tagged(sorted_ascii(case["arguments"])) == case["hash"]
    case = vectors["catalog_hash"]
    assert tagged(sorted_ascii(sorted(case["entries"], key=lambda entry: entry["tool_name"]))) == case["hash"]
    case = vectors["drift_digest"]
    drift = {"description": case["description"], "input_schema": {}, "output_schema": None}
    assert tagged(sorted_ascii(drift)) == case["hash"]
    names = {"inputSchema": "input_schema", "outputSchema": "output_schema"}
    drift = {names.get(name, name): value for name, value in case["titled"].items() if name != "name"}
    assert tagged(sorted_ascii(drift)) == case["titled_hash"]
    case = vectors["bundle_hash"]
    lines = lambda text: sha256(text.replace("\r\n", "\n").replace("\r", "\n").encode()).hex()
    bundle = {
        "manifest": without(case["manifest"], "signature"),
        "policy_files": {path: lines(text) for path, text in case["policy_files"].items()},
        "schema_hash": lines(case["schema"]),
    }
    assert tagged(jcs(bundle).encode()) == case["hash"]

    case = vectors["boot_binding"]
    assert sha256(b"cmcp-boot-v1|" + sorted_ascii(case["boot"])).hex() == case["x"]
    case = vectors["challenge_binding"]
    challenge = {"boot": case["boot"], "nonce": case["nonce"]}
    assert sha256(b"cmcp-challenge-v1|" + sorted_ascii(challenge)).hex() == case["x"]
    case = vectors["session_binding"]
    assert unpadded(case["nonce"]) == thumbprint + sha256(bytes.fromhex(case["root"]))
    return vectors


def check_documents(public, vectors):
    claim, old, bundle, record = map(load, ["claim.json", "claim-v01.json", "bundle.json", "record.json"])
    for document in (claim, old):
        message = sorted_ascii(without(document, "signature"))
        assert jcs(without(document, "signature")).encode() == message, "the canonical forms differ"
        assert signed(public, message, unpadded(document["signature"]))
        assert not signed(public, message + b" ", unpadded(document["signature"]))
    assert tagged(sorted_ascii(claim)) == vectors["prev_claim_hash"]
    assert claim["trace"]["runtime"]["nonce"] == vectors["session_binding"]["nonce"]

    previous = "genesis"
    for number, entry in enumerate(bundle["entries"]):
        assert len(entry) == 24 and entry["sequence_number"] == number and entry["prev_entry_hash"] == previous
        previous = sha256(sorted_ascii(without(entry, "entry_hash"))).hex()
        assert entry["entry_hash"] == previous
    assert signed(public, sha256(sorted_ascii(bundle["entries"])), unpadded(bundle["bundle_signature"]))
    chain = claim["gateway"]["audit_chain"]
    assert (chain["root"], chain["tip"]) == (bundle["entries"][0]["entry_hash"], previous)
    assert chain["length"] == len(bundle["entries"])
    assert old["gateway"]["audit_chain"] == {**chain, "root": "sha256:" + chain["root"], "tip": "sha256:" + chain["tip"]}
    start = bundle["entries"][0]["detail"]
    assert start["boot"] == vectors["boot_binding"]["x"]

    assert signed(public, jcs(without(record, "signature")).encode(), unpadded(record["signature"]))
    assert record["references"][0]["digest"] == tagged(sorted_ascii(claim))
    return claim, bundle


def check_operator(public):
    vectors = load("operator.json")
    assert vectors["key_id"] == tagged(public)
    policy, controls = vectors["policy"], vectors["controls"]
    message = b"cmcp-policy-bundle-v1|" + policy["bundle_hash"].encode()
    assert signed(public, message, unpadded(policy["signature"]))
    message = b"cmcp-controls-v1|" + sorted_ascii(without(controls, "signature"))
    assert signed(public, message, unpadded(controls["signature"]))
    order = vectors["provision"]
    assert set(order) == {"boot_id", "name", "value_sha256", "server", "pin", "signature"}
    message = b"cmcp-provision-v1|" + sorted_ascii(without(order, "signature"))
    assert signed(public, message, unpadded(order["signature"]))
    assert set(vectors["policy_load"]) == {"action", "at", "bundle_hash", "version", "signed_by"}
    assert set(vectors["secret_provisioned"]) == {"action", "at", "name", "server"}


def check_evidence(public, thumbprint):
    vectors = load("evidence.json")
    document = vectors["document"]
    assert set(document) == {"boot", "public_key", "evidence"} and unpadded(document["public_key"]) == public
    boot = sha256(b"cmcp-boot-v1|" + sorted_ascii(document["boot"]))
    challenge = {"boot": boot.hex(), "nonce": vectors["nonce"]}
    challenge = sha256(b"cmcp-challenge-v1|" + sorted_ascii(challenge))
    for evidence, x in [(document["evidence"], boot), (vectors["challenge_evidence"], challenge)]:
        assert set(evidence) == {"type", "artifact", "binding", "signature"} and evidence["type"] == "software"
        assert unpadded(evidence["binding"]) == thumbprint + x
        assert signed(public, b"cmcp-software-evidence-v1|" + thumbprint + x, unpadded(evidence["signature"]))
    extension = bytes.fromhex(vectors["extension_hex"])
    # A UTF8String with a length in two bytes.
    assert extension[:2] == b"\x0c\x82" and int.from_bytes(extension[2:4], "big") == len(extension) - 4
    record = json.loads(extension[4:])
    assert sorted_ascii(record) == extension[4:]
    assert record[0] == "application/vnd.cmcp.boot-evidence+json" and record[2] == 4 and len(record) == 3
    assert unpadded(record[1]) == sorted_ascii(document)


def check_segment(public, vectors, claim, bundle):
    file = (HERE / "segment.bin").read_bytes()
    assert file[:16] == b"cmcp-boot-log-1\n"
    at, hashes, records = 16, [], []
    while (length := struct.unpack_from("<I", file, at)[0]) != 0:
        checksum, payload = file[at + 4 : at + 12], file[at + 12 : at + 12 + length]
        assert sha256(payload)[:8] == checksum
        sessions = struct.unpack_from("<I", payload)[0]
        assert struct.unpack_from(f"<{sessions}Q", payload, 4) == (1,)
        batch = payload[4 + 8 * sessions + 64 :]
        assert signed(public, b"cmcp-boot-log-v1|" + sha256(batch), payload[4 + 8 * sessions :][:64])
        magic, boot, number, previous, count = struct.unpack_from("<8s16sQ32sI", batch)
        assert (magic, number) == (b"cMCPbat1", len(hashes))
        assert previous.hex() == (hashes[-1] if hashes else "00" * 32)
        offset = 68
        for _ in range(count):
            kind, session, size = struct.unpack_from("<BQI", batch, offset)
            body = batch[offset + 13 : offset + 13 + size]
            assert sorted_ascii(json.loads(body)) == body
            records.append((kind, session, json.loads(body)))
            offset += 13 + size
        assert offset == len(batch)
        hashes.append(sha256(batch).hex())
        at += 12 + length
    assert not any(file[at:]) and hashes == vectors["batches"]
    assert [kind for kind, _, _ in records] == [1, 3, 2, 3, 3, 3, 3, 5, 4]
    assert records[0][2]["boot_id"] == boot.hex() and unpadded(records[0][2]["public_key"]) == public
    assert [body for kind, _, body in records if kind == 3] == bundle["entries"]
    assert records[-1][2] == claim


public = unpadded(load("hashes.json")["key"]["x"])
check_canonical()
vectors = check_hashes(public)
claim, bundle = check_documents(public, vectors)
check_operator(public)
check_evidence(public, bytes.fromhex(vectors["key"]["thumbprint"]))
check_segment(public, vectors, claim, bundle)
print("all vectors hold")
sys.exit(0)
