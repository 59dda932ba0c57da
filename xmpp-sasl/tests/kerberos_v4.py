#!/usr/bin/env python3
"""KERBEROS_V4 (RFC 2222 section 7.1) once more, independently: DES, PCBC, ticket, authenticator and both roles.

Builds the example `kerberos_v4` of this crate and runs it as the other side, in either role and byte order, with the
right key, with wrong ones, and with each part of a message wrong. Needs Python and nothing else. Part `kerberos-v4` of
`cargo xtask ci`; exits 1 if anything is not as it should be.
"""

import base64
import os
import struct
import subprocess
import sys
import tempfile
import time

# DES by FIPS 46-3. Bits are numbered from 1, the most significant first.
IP = [row - column for row in (58, 60, 62, 64, 57, 59, 61, 63) for column in range(0, 64, 8)]
FP = [row - column for column in range(8) for row in (40, 8, 48, 16, 56, 24, 64, 32)]
E = [(4 * row + column - 1) % 32 + 1 for row in range(8) for column in range(6)]
P = [16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
     2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25]
PC1 = [57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
       63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4]
PC2 = [14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
       41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32]
SHIFTS = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1]
S = """e4d12fb83a6c5907 0f74e2d1a6cb9538 41e8d62bfc973a50 fc8249175b3ea06d
       f18e6b34972dc05a 3d47f28ec01a69b5 0e7ba4d158c6932f d8a13f42b67c05e9
       a09e63f51dc7b428 d709346a285ecbf1 d6498f30b12c5ae7 1ad069874fe3b52c
       7de3069a1285bc4f d8b56f03472c1ae9 a690cb7df13e5284 3f06a1d8945bc72e
       2c417ab6853fd0e9 eb2c47d150fa3986 421bad78f9c5630e b8c71e2d6f09a453
       c1af92680d34e75b af427c9561de0b38 9ef528c3704a1db6 432c95fabe17608d
       4b2ef08d3c975a61 d0b7491ae35c2f86 14bdc37eaf680592 6bd814a7950fe23c
       d2846fb1a93e50c7 1fd8a374c56b0e92 7b419ce206adf358 21e74a8dfc90356b""".split()


def bits(octets):
    return [octet >> shift & 1 for octet in octets for shift in range(7, -1, -1)]


def octets(bits):
    return bytes(int("".join(map(str, bits[at:at + 8])), 2) for at in range(0, len(bits), 8))


def permute(bits, table):
    return [bits[at - 1] for at in table]


def des(key, block, decrypt=False):
    halves = permute(bits(key), PC1)
    left, right, rounds = halves[:28], halves[28:], []
    for shift in SHIFTS:
        left, right = left[shift:] + left[:shift], right[shift:] + right[:shift]
        rounds.append(permute(left + right, PC2))
    block = permute(bits(block), IP)
    left, right = block[:32], block[32:]
    for key in reversed(rounds) if decrypt else rounds:
        mixed = [a ^ b for a, b in zip(permute(right, E), key)]
        out = []
        for box in range(8):
            a, b, c, d, e, f = mixed[6 * box:6 * box + 6]
            digit = int(S[4 * box + 2 * a + f][8 * b + 4 * c + 2 * d + e], 16)
            out += [digit >> shift & 1 for shift in (3, 2, 1, 0)]
        left, right = right, [a ^ b for a, b in zip(left, permute(out, P))]
    return octets(permute(right + left, FP))


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def pcbc(key, data, decrypt=False):
    """Each block is mixed with the one before it, plain and sealed. The initial vector is the key."""
    assert len(data) % 8 == 0
    chain, out = key, b""
    for at in range(0, len(data), 8):
        block = data[at:at + 8]
        done = xor(des(key, block, True), chain) if decrypt else des(key, xor(block, chain))
        chain = xor(block, done)
        out += done
    return out


def padded(data):
    return data + bytes(-len(data) % 8)


def strings(*parts):
    return b"".join(part.encode() + b"\0" for part in parts)


CLIENT = ("xmpp", "capulet", "CAPULET.EXAMPLE")
SERVICE = ("xmpp", "montague", "MONTAGUE.EXAMPLE")
HOST, DOMAIN, VERSION = "montague.example", "capulet.example", 5
KEY, OTHER = bytes.fromhex("133457799bbcdff1"), bytes.fromhex("0123456789abcdef")
SESSION = bytes.fromhex("fedcba9876543210")


def text(principal):
    return f"{principal[0]}.{principal[1]}@{principal[2]}"


def request(number, order, key=KEY, client=CLIENT, service=SERVICE, issued=0, seconds=0, version=VERSION):
    now = int(time.time())
    flag = 1 if order == "<" else 0
    ticket = bytes([flag]) + strings(*client) + bytes([10, 0, 0, 1]) + SESSION + bytes([96])
    ticket += struct.pack(order + "I", now + issued) + strings(*service[:2])
    authenticator = strings(*client) + struct.pack(order + "IBI", number, 77, now + seconds)
    ticket, authenticator = pcbc(key, padded(ticket)), pcbc(SESSION, padded(authenticator))
    head = bytes([4, 6 | flag, version]) + strings(service[2])
    return head + bytes([len(ticket), len(authenticator)]) + ticket + authenticator


def parse(message):
    """The session key and the number in the authenticator; all else is checked."""
    protocol, kind, version = message[:3]
    realm, rest = message[3:].split(b"\0", 1)
    assert (protocol, kind, version, realm.decode()) == (4, 6, VERSION, SERVICE[2])
    ticket, authenticator = rest[2:2 + rest[0]], rest[2 + rest[0]:]
    assert len(authenticator) == rest[1]
    plain = pcbc(KEY, ticket, True)
    head, names = b"\0" + strings(*CLIENT), strings(*SERVICE[:2])
    assert plain.startswith(head), plain
    address, session, life, issued = struct.unpack(">4s8sBI", plain[len(head):len(head) + 17])
    tail = plain[len(head) + 17:]
    assert tail == names + bytes(len(tail) - len(names)) and len(tail) - len(names) < 8, tail
    assert address == bytes(4) and life > 0 and abs(issued - time.time()) < 60
    assert all(bin(octet).count("1") % 2 for octet in session)
    plain = pcbc(session, authenticator, True)
    head = strings(*CLIENT)
    assert plain.startswith(head), plain
    number, _, seconds = struct.unpack(">IBI", plain[len(head):len(head) + 9])
    tail = plain[len(head) + 9:]
    assert tail == bytes(len(tail)) and len(tail) < 8 and abs(seconds - time.time()) < 60
    return session, number


class Other:
    """The example, as a process with lines."""

    def __init__(self, program, role, key=KEY, domain=DOMAIN):
        with tempfile.NamedTemporaryFile("w", suffix=".keys", delete=False) as file:
            file.write(f"{text(CLIENT)} {text(SERVICE)} {VERSION} {key.hex()}\n")
        self.file = file.name
        self.process = subprocess.Popen([program, role, self.file, HOST, domain], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def says(self, word):
        line = self.process.stdout.readline().strip()
        got, _, rest = line.partition(" ")
        assert got == word, f"{line!r} instead of {word!r}"
        return base64.b64decode(rest) if got in ("challenge", "response") else rest

    def hears(self, word, data=b""):
        self.process.stdin.write(f"{word} {base64.b64encode(data).decode()}\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        os.unlink(self.file)


def as_client(program, order, want="success", layer=1, authzid=DOMAIN, spoil=None, **wrong):
    with Other(program, "server") as server:
        number, = struct.unpack(">I", server.says("challenge"))
        server.hears("response", request(number ^ wrong.pop("number", 0), order, **wrong))
        if want not in ("success", "invalid-authzid") and spoil is None and layer == 1:
            assert server.says("failure") == want
            return
        proof = des(SESSION, server.says("challenge"), True)
        assert proof == struct.pack(">IB3s", (number + 1) % 2**32, 1, bytes(3)), proof
        last = struct.pack(">IB3s", number, layer, bytes(3)) + authzid.encode() + b"\0"
        last = bytearray(pcbc(SESSION, padded(last)))
        if spoil is not None:
            last[spoil] ^= 1
        server.hears("response", bytes(last))
        if spoil is not None and spoil >= 8:
            # Noise in place of the identity: hardly ever text, and never the right one.
            assert server.says("failure") in ("not-authorized", "invalid-authzid")
        elif want == "success":
            assert server.says("success") == f"{text(CLIENT)} {authzid}"
        else:
            assert server.says("failure") == want


def as_server(program, number, want="satisfied", layers=1, size=0, add=1):
    with Other(program, "client") as client:
        client.hears("challenge", struct.pack(">I", number))
        session, checksum = parse(client.says("response"))
        assert checksum == number
        size = struct.pack(">I", size)[1:]
        proof = struct.pack(">IB3s", (number + add) % 2**32, layers, size)
        client.hears("challenge", des(session, proof))
        if want != "satisfied":
            assert want in client.says("abort")
            return
        last = pcbc(session, client.says("response"), True)
        head = struct.pack(">IB3s", number, 1, bytes(3)) + DOMAIN.encode()
        assert last.startswith(head) and 1 <= len(last) - len(head) <= 8, last
        assert last[len(head):] == bytes(len(last) - len(head)), last
        client.hears("success")
        client.says("satisfied")


def main():
    # FIPS 81, appendix B.
    assert des(OTHER, b"Now is t").hex() == "3fa40e8a984d4815"
    assert des(OTHER, bytes.fromhex("3fa40e8a984d4815"), True) == b"Now is t"

    cargo = os.environ.get("CARGO", "cargo")
    build = [cargo, "build", "--quiet", "--package", "xmpp-sasl", "--example", "kerberos_v4"]
    subprocess.run(build, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "..", "target"))
    program = os.path.join(target, "debug", "examples", "kerberos_v4")

    runs = 0
    for number in (0x0261588A, 0xFFFFFFFF, 0, 1):
        as_server(program, number)
        runs += 1
    for wrong in (dict(add=0), dict(add=2), dict(add=256)):
        as_server(program, 1, want="could not prove", **wrong)
        runs += 1
    as_server(program, 7, layers=7, size=0xFFFF)
    as_server(program, 7, want="security layer", layers=6, size=0xFFFF)
    for order in ("<", ">"):
        as_client(program, order)
        for wrong in (dict(key=OTHER), dict(number=1), dict(version=VERSION - 1), dict(seconds=400), dict(seconds=-400),
                      dict(client=("xmpp", "mercutio", "CAPULET.EXAMPLE")), dict(issued=400),
                      dict(service=("imap", "montague", "MONTAGUE.EXAMPLE")),
                      dict(service=("xmpp", "montague", "CAPULET.EXAMPLE"))):
            as_client(program, order, want="not-authorized", **wrong)
            runs += 1
        as_client(program, order, want="credentials-expired", issued=-96 * 300 - 400)
        as_client(program, order, want="malformed-request", layer=2)
        as_client(program, order, want="invalid-authzid", authzid="mercutio.example")
        for spoil in (0, 7, 8, 16):
            as_client(program, order, want="not-authorized", spoil=spoil)
            runs += 1
        runs += 4
    print(f"KERBEROS_V4: {runs + 2} exchanges with an independent implementation went as they should")


if __name__ == "__main__":
    try:
        main()
    except AssertionError:
        import traceback
        traceback.print_exc()
        sys.exit(1)
