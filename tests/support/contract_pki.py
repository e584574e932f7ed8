"""A small PKI of ISO 15118: an MO root, a sub-CA, contracts, and an OCSP responder that answers."""

import asyncio
import datetime as dt
import gzip

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
)

EMAID = "DE-8AA-CA2B3C4D5-N"
_DAY = dt.timedelta(days=1)
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def pem(*certificates):
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in certificates)


BROKEN = frozenset({"hangs", "huge", "disguised", "404", "500", "moved"})


async def broken_answer(how, elsewhere):
    """What a server says that is no good, or never."""
    if how == "hangs":
        await asyncio.Event().wait()
    if how == "huge":
        return web.Response(body=b" " * (1 << 22))
    if how == "disguised":
        body = gzip.compress(b" " * (1 << 26))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})
    if how == "moved":
        raise web.HTTPTemporaryRedirect(elsewhere)
    return web.Response(status=int(how)) if how in BROKEN else web.Response(body=b"junk")


class Party:
    """A certificate with its key."""

    def __init__(
        self,
        name,
        issuer=None,
        *,
        ca=True,
        now,
        days=(-1, 365),
        ocsp_url=None,
        signs_ocsp=False,
        may=None,
    ):
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.issuer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * _DAY)
            .not_valid_after(now + days[1] * _DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if signs_ocsp:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
            builder = builder.add_extension(usage, critical=False)
        if may:
            of = dict.fromkeys(USAGES, False) | dict.fromkeys(may, True)
            builder = builder.add_extension(x509.KeyUsage(**of), critical=True)
        if ocsp_url:
            where = x509.UniformResourceIdentifier(ocsp_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)
            builder = builder.add_extension(
                x509.AuthorityInformationAccess([access]), critical=False
            )
        self.certificate = builder.sign(self.issuer.key, hashes.SHA256())

    def hash_data(self, url="http://named-by-the-charger.example/"):
        """OCSPRequestDataType of this certificate."""
        question = ocsp.OCSPRequestBuilder().add_certificate(
            self.certificate, self.issuer.certificate, hashes.SHA256()
        )
        built = question.build()
        return {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": built.issuer_name_hash.hex(),
            "issuerKeyHash": built.issuer_key_hash.hex(),
            "serialNumber": f"{self.certificate.serial_number:x}",
            "responderURL": url,
        }


class Mobility:
    """The PKI of a mobility operator, with its responder."""

    def __init__(self, now):
        self.now = now
        self.root = Party("MO Root", now=now)
        self.sub = Party("MO Sub-CA", self.root, now=now)
        self.contract = Party(EMAID, self.sub, ca=False, now=now)
        self.delegate = Party("OCSP", self.sub, ca=False, now=now, signs_ocsp=True)
        self.stranger = Party("Stranger", now=now)
        self.neighbour = Party("MO Sub-CA 2", self.root, now=now)
        self.neighbours_delegate = Party(
            "OCSP 2", self.neighbour, ca=False, now=now, signs_ocsp=True
        )
        self.without_right = Party("No responder", self.sub, ca=False, now=now)
        self.ended_delegate = Party(
            "OCSP of old", self.sub, ca=False, now=now, signs_ocsp=True, days=(-30, -1)
        )
        self.told_at, self.told_until = now - dt.timedelta(hours=1), now + dt.timedelta(hours=6)
        self.revoked = set()
        self.unknown = set()
        self.asked = []
        self.signer = None
        self.broken = None

    def parties(self):
        return {p.certificate.serial_number: p for p in vars(self).values() if isinstance(p, Party)}

    def chain(self, leaf=None):
        return pem((leaf or self.contract).certificate, self.sub.certificate)

    async def respond(self, request):
        """Answer as an OCSP responder does."""
        asked = ocsp.load_der_ocsp_request(await request.read())
        self.asked.append(asked.serial_number)
        if self.broken is not None:
            return await broken_answer(self.broken, "/elsewhere")
        subject = self.parties().get(asked.serial_number)
        issuer = subject.issuer if subject else self.sub
        signer = self.signer or issuer
        status = ocsp.OCSPCertStatus.GOOD
        if asked.serial_number in self.revoked:
            status = ocsp.OCSPCertStatus.REVOKED
        elif asked.serial_number in self.unknown:
            status = ocsp.OCSPCertStatus.UNKNOWN
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=asked.issuer_name_hash,
                issuer_key_hash=asked.issuer_key_hash,
                serial_number=asked.serial_number,
                algorithm=hashes.SHA256(),
                cert_status=status,
                this_update=self.told_at,
                next_update=self.told_until,
                revocation_time=self.now - _DAY if revoked else None,
                revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
        )
        if self.signer is not None:
            builder = builder.certificates([signer.certificate, signer.issuer.certificate])
        answer = builder.sign(signer.key, hashes.SHA256())
        return web.Response(body=answer.public_bytes(serialization.Encoding.DER))

    def revocation_list(self, issuer):
        """The CRL of an issuer (DER)."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(self.now - _DAY)
            .next_update(self.now + _DAY)
        )
        for number in self.revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(number)
                .revocation_date(self.now - _DAY)
                .build()
            )
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
