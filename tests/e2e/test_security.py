"""Item 6 of the charge points' side, from end to end: suites, renewal, rotation, certificates."""

import asyncio
import shutil
import signal
import subprocess

import pytest
import trustme
from running import Cpo, password
from waiting import LONG, looked, until

from chargers_sim import Station

SUITES = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDSA"),
    ("AES128-GCM-SHA256", "RSA"),
    ("AES256-GCM-SHA384", "RSA"),
]


def issue(folder, authority, kind, name):
    issued = authority.issue_cert("localhost", "127.0.0.1", key_type=kind, common_name=name)
    chain, key = folder / f"{kind.name}.pem", folder / f"{kind.name}.key"
    issued.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return chain, key


async def s_client(port, *options):
    """What openssl's own client says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    return await asyncio.to_thread(
        lambda: (
            subprocess.run(
                command, check=False, input="", capture_output=True, text=True, timeout=60
            ).stdout
        )
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_s8_086_the_four_suites_and_a_renewal_without_a_restart(tmp_path):
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    ec, rsa = (
        issue(tmp_path, authority, kind, "first")
        for kind in (trustme.KeyType.ECDSA, trustme.KeyType.RSA)
    )
    settings = {
        "ocpp.tls.certificate": str(ec[0]), "ocpp.tls.key": str(ec[1]),
        "ocpp.tls.second_certificate": str(rsa[0]), "ocpp.tls.second_key": str(rsa[1]),
    }  # fmt: skip
    async with Cpo(tmp_path, **settings) as cpo:
        port = cpo.ports["ocpp"]
        for suite, _ in SUITES:
            said = await s_client(port, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
            assert f"Cipher is {suite}" in said
        said = await s_client(port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "Cipher is (NONE)" in said

        issue(tmp_path, authority, trustme.KeyType.ECDSA, "second")
        cpo.process.send_signal(signal.SIGHUP)

        async def handshake():
            return await s_client(port, "-tls1_2")

        await looked(handshake, lambda said: "CN = second" in said)
        _, calendar = await cpo.api("GET", "/certificates")
        assert {i["name"] for i in calendar["items"]} == {
            "ocpp.tls.certificate", "ocpp.tls.second_certificate",
        }  # fmt: skip


async def test_sec07_a_crowd_of_tls_handshakes_is_bounded(tmp_path):
    """Those over the limit are refused at once, and what the first held is free again."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    chain, key = issue(tmp_path, authority, trustme.KeyType.ECDSA, "door")
    settings = {
        "ocpp.tls.certificate": str(chain), "ocpp.tls.key": str(key), "ocpp.max_handshakes": "10",
    }  # fmt: skip
    async with Cpo(tmp_path, **settings) as cpo:
        crowd = [await asyncio.open_connection("127.0.0.1", cpo.ports["ocpp"]) for _ in range(50)]

        def sent_away():
            return sum(r.at_eof() or r.exception() is not None for r, _ in crowd)

        await until(lambda: sent_away() == 40)
        for _, writer in crowd:
            writer.close()

        async def handshake():
            return await s_client(cpo.ports["ocpp"], "-tls1_2")

        await looked(handshake, lambda said: "CN = door" in said)
        assert "TOO_MANY_HANDSHAKES" in cpo.log()


async def shown(cpo, path):
    return (await cpo.api("GET", path))[1]


async def test_fw07_fw09_073_074_a09_a_password_is_rotated_and_a_certificate_renewed(tmp_path):
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.private_key_pem.write_to_path(str(tmp_path / "authority.key"))
    settings = {
        "ocpp.tls.authority_certificate": str(tmp_path / "authority.pem"),
        "ocpp.tls.authority_key": str(tmp_path / "authority.key"),
        "ocpp.tls.certificate_days": "7",
    }
    async with Cpo(tmp_path, **settings) as cpo:
        names = {"1.6": "sec-16", "2.0.1": "sec-201"}
        await cpo.equip(names.values())
        for version, name in names.items():
            async with Station(
                cpo.ocpp_url, name, ocpp=version, password=password(name), retry_seconds=0.1
            ) as station:
                _, rotated = await cpo.api("POST", f"/stations/{name}/rotate-password", {})
                assert rotated["status"] == "Accepted"
                await looked(
                    lambda name=name: shown(cpo, f"/stations/{name}"),
                    lambda seen: not seen["rotating"],
                )
                await station.online(timeout=LONG)
                _, renewed = await cpo.api("POST", f"/stations/{name}/renew-certificate", {})
                assert renewed["status"] == "Accepted"
                await looked(
                    lambda: shown(cpo, "/certificates?state=soon"),
                    lambda seen, name=name: name in [i["station"] for i in seen["items"]],
                )
                assert station.certificates.chain_pem is not None
            # The old password is of no use any more.
            stale = Station(cpo.ocpp_url, name, ocpp=version, password=password(name))
            stale.start()
            await until(
                lambda stale=stale: any(
                    e["event"] == "refused" or "401" in str(e) for e in stale.events
                )
            )
            assert not stale.is_online
            await stale.close()
