#!/usr/bin/env python3
"""Opens sealed records with nothing but SPEC.md, section 8, and the package `cryptography`.

usage: sealed.py                     check sealed.json
       sealed.py --write             write sealed.json anew
       sealed.py STORE KEYFILE       open every sealed record of a store; one line of JSON for each
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VECTOR = pathlib.Path(__file__).parent / "sealed.json"
LABEL = "cmcp-auditor-key-v1:"


def b64u(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# HPKE, RFC 9180, in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
KEM = b"KEM" + struct.pack(">H", 0x0020)
SUITE = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0002)


def extract(suite, salt, label, ikm):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(suite, prk, label, info, length):
    info = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]


def key_schedule(dh, enc, recipient, info):
    """Key and first nonce."""
    shared = expand(KEM, extract(KEM, b"", b"eae_prk", dh), b"shared_secret", enc + recipient, 32)
    context = b"\x00" + extract(SUITE, b"", b"psk_id_hash", b"") + extract(SUITE, b"", b"info_hash", info)
    secret = extract(SUITE, shared, b"secret", b"")
    return expand(SUITE, secret, b"key", context, 32), expand(SUITE, secret, b"base_nonce", context, 12)


def wrap(boot_key, boot_id, recipient, ephemeral):
    """`enc` and `wrapped`."""
    enc = ephemeral.public_key().public_bytes_raw()
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    key, nonce = key_schedule(dh, enc, recipient, b"cmcp-seal-v1|" + boot_id)
    return enc, AESGCM(key).encrypt(nonce, boot_key, b"")


def unwrap(sealing, boot_id, private):
    """The boot's key."""
    recipient, enc = private.public_key().public_bytes_raw(), unpadded(sealing["enc"])
    assert unpadded(sealing["auditor_key"]) == recipient, "sealed to another auditor"
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = key_schedule(dh, enc, recipient, b"cmcp-seal-v1|" + boot_id)
    return AESGCM(key).decrypt(nonce, unpadded(sealing["wrapped"]), b"")


def nonce_and_aad(boot_id, counter, kind, session):
    return struct.pack("<Q4x", counter), struct.pack("<16sQBQ", boot_id, counter, kind, session)


def open_record(boot_key, boot_id, kind, session, body):
    """The counter and the record's body."""
    (counter,) = struct.unpack_from("<Q", body)
    nonce, aad = nonce_and_aad(boot_id, counter, kind, session)
    return counter, AESGCM(boot_key).decrypt(nonce, body[8:], aad)


def batches(store):
    for path in sorted(pathlib.Path(store).glob("*.log")):
        file = path.read_bytes()
        assert file[:16] == b"cmcp-boot-log-1\n"
        at = 16
        while at + 4 <= len(file) and (length := struct.unpack_from("<I", file, at)[0]) != 0:
            payload = file[at + 12 : at + 12 + length]
            assert hashlib.sha256(payload).digest()[:8] == file[at + 4 : at + 12]
            yield payload[4 + 8 * struct.unpack_from("<I", payload)[0] + 64 :]
            at += 12 + length


def records(batch):
    boot_id, count, at = batch[8:24], struct.unpack_from("<I", batch, 64)[0], 68
    for _ in range(count):
        kind, session, size = struct.unpack_from("<BQI", batch, at)
        yield boot_id, kind, session, batch[at + 13 : at + 13 + size]
        at += 13 + size


def open_store(store, private):
    """(kind, session number, counter, body) of every sealed record of every boot."""
    keys, last = {}, {}
    for batch in batches(store):
        for boot_id, kind, session, body in records(batch):
            if kind == 1:
                record = json.loads(body)
                keys[boot_id] = unwrap(record["sealing"], boot_id, private) if "sealing" in record else None
            elif keys[boot_id]:
                counter, opened = open_record(keys[boot_id], boot_id, kind, session, body)
                assert counter > last.get(boot_id, 0), "a counter came twice"
                last[boot_id] = counter
                yield kind, session, counter, json.loads(opened)


def vector():
    """Fixed keys, so that the file is the same each time."""
    private = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"auditor").digest())
    boot_id, boot_key = bytes([0xB0] * 16), hashlib.sha256(b"boot key").digest()
    recipient = private.public_key().public_bytes_raw()
    enc, wrapped = wrap(boot_key, boot_id, recipient, X25519PrivateKey.from_private_bytes(hashlib.sha256(b"ephemeral").digest()))
    made = []
    for counter, kind, session, plaintext in [(1, 3, 1, b'{"an":"entry"}'), (2, 5, 0, b""), (2**40, 4, 2**33, b"a claim" * 100)]:
        nonce, aad = nonce_and_aad(boot_id, counter, kind, session)
        body = struct.pack("<Q", counter) + AESGCM(boot_key).encrypt(nonce, plaintext, aad)
        made.append({"counter": counter, "kind": kind, "session": session, "nonce": nonce.hex(), "aad": aad.hex(),
                     "plaintext": plaintext.hex(), "body": body.hex()})
    return {
        "auditor_private_key": private.private_bytes_raw().hex(),
        "boot_id": boot_id.hex(),
        "boot_key": boot_key.hex(),
        "info": (b"cmcp-seal-v1|" + boot_id).hex(),
        "sealing": {"auditor_key": b64u(recipient), "enc": b64u(enc), "wrapped": b64u(wrapped)},
        "records": made,
    }


def check(stored):
    boot_id = bytes.fromhex(stored["boot_id"])
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(stored["auditor_private_key"]))
    boot_key = unwrap(stored["sealing"], boot_id, private)
    assert boot_key.hex() == stored["boot_key"]
    for record in stored["records"]:
        kind, session, body = record["kind"], record["session"], bytes.fromhex(record["body"])
        counter, plaintext = open_record(boot_key, boot_id, kind, session, body)
        assert (counter, plaintext.hex()) == (record["counter"], record["plaintext"])
        try:
            open_record(boot_key, boot_id, kind, session + 1, body)
            sys.exit("a record opened in another place")
        except InvalidTag:
            pass


def main(arguments):
    match arguments:
        case []:
            check(json.loads(VECTOR.read_text()))
            print("sealed.json holds")
        case ["--write"]:
            VECTOR.write_text(json.dumps(vector(), indent=2) + "\n")
        case [store, key] if not store.startswith("-"):
            line = pathlib.Path(key).read_text().strip()
            assert line.startswith(LABEL), f"{key} is no auditor's key"
            for kind, session, counter, body in open_store(store, X25519PrivateKey.from_private_bytes(unpadded(line[len(LABEL):]))):
                print(json.dumps({"kind": kind, "session": session, "counter": counter, "body": body}))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
