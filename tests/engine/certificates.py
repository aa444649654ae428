"""Certificates, made as Docker's guide says (docs.docker.com, "Protect the Docker daemon socket"): without what stricter programs want.

Of no use to anybody: these keys are public. They hold for localhost, until 2126.
"""

from __future__ import annotations

import ssl
from pathlib import Path

AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUOgAwIBAgIUMwVIJGHS63LoakrSla7CqhP0LJ8wCgYIKoZIzj0EAwIw
IzEhMB8GA1UEAwwYa2luZGFzeW5jIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMzEy
NDg1MVoYDzIxMjYxMDMwMTI0ODUxWjAjMSEwHwYDVQQDDBhraW5kYXN5bmMgdGVz
dCBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATlPANSwI8rZ4d4
FYPx9Hxo7RwF0dF7uxcibqOoba8e+QkwvjANtzNqu37M3xgw2Hxw+VI7xgnGHRNb
gdJnjjLVo1MwUTAdBgNVHQ4EFgQU8+Wa7MwwV5xYahe3kicJSKRSkqEwHwYDVR0j
BBgwFoAU8+Wa7MwwV5xYahe3kicJSKRSkqEwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNJADBGAiEAw4spke5kzuKChPWUvbJpYGjmjMKcRAQ0PPIHOJvw60wC
IQCCCl7tNS+L4Rird/yRpx7igfVjetYqpiKyxxhrSx9ZhQ==
-----END CERTIFICATE-----
"""
SERVER = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARSgAwIBAgIUXz6DVHGc8JVoYnUxJcqgqNFt8vgwCgYIKoZIzj0EAwIw
IzEhMB8GA1UEAwwYa2luZGFzeW5jIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMzEy
NDg1MVoYDzIxMjYxMDMwMTI0ODUxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTAT
BgcqhkjOPQIBBggqhkjOPQMBBwNCAARv4mR1jI90l5kT2UCg+PKmUtgqFl/c2r7W
+JnbE5X4efLq5YGnQA0kdHe/hN0j9siJ4KpoeZrD0YDLee5e8+TPozMwMTAaBgNV
HREEEzARgglsb2NhbGhvc3SHBH8AAAEwEwYDVR0lBAwwCgYIKwYBBQUHAwEwCgYI
KoZIzj0EAwIDSAAwRQIgOhf3VxYPJ64eBEnMzR9KVFa80rP89UjT435D9nuT8FQC
IQDoLUj3MRS2Y5oNwP2g0mLQ6UQGUB9ttLEOI7aRh2m8lw==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggIB1x3M23uhpVbQW
bPf/zmE14u7JPb+KnwC+oKIOU/KhRANCAARv4mR1jI90l5kT2UCg+PKmUtgqFl/c
2r7W+JnbE5X4efLq5YGnQA0kdHe/hN0j9siJ4KpoeZrD0YDLee5e8+TP
-----END PRIVATE KEY-----
"""
CLIENT = """\
-----BEGIN CERTIFICATE-----
MIIBUTCB+KADAgECAhRfPoNUcZzwlWhidTElyqCo0W3y+TAKBggqhkjOPQQDAjAj
MSEwHwYDVQQDDBhraW5kYXN5bmMgdGVzdCBhdXRob3JpdHkwIBcNMjYxMTIzMTI0
ODUxWhgPMjEyNjEwMzAxMjQ4NTFaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABAOdXxM10VPI87my34El+9NOQ0wp0HsmVfST
8lsSageOoUnLVRu+Ip1EtD14dm8cizr7jookMNapia7iv4J4q3KjFzAVMBMGA1Ud
JQQMMAoGCCsGAQUFBwMCMAoGCCqGSM49BAMCA0gAMEUCIQC5P1px0fp1fRnCQH3D
/IUjq5zbHOKh7kyU3cfk4IQWGwIgcsMbEvQx34gLWoanXYIIITJWKYiCV8jMDrhT
kNegabU=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgW9FVu9beUVGmX78d
Ucq/PrX33VwvDmbOSGdDwGI8CvmhRANCAAQDnV8TNdFTyPO5st+BJfvTTkNMKdB7
JlX0k/JbEmoHjqFJy1UbviKdRLQ9eHZvHIs6+46KJDDWqYmu4r+CeKty
-----END PRIVATE KEY-----
"""


def files_in(directory: Path) -> Path:
    """A directory as DOCKER_CERT_PATH names it: `ca.pem`, `cert.pem`, `key.pem`."""
    directory.mkdir()
    certificate, key = CLIENT.split("-----BEGIN PRIVATE KEY-----")
    (directory / "ca.pem").write_text(AUTHORITY)
    (directory / "cert.pem").write_text(certificate)
    (directory / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----{key}")
    return directory


def server_context(directory: Path) -> ssl.SSLContext:
    """The side of an Engine that wants its clients' certificates, as `dockerd --tlsverify` does."""
    (directory / "server.pem").write_text(SERVER)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=AUTHORITY)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(directory / "server.pem")
    return context
