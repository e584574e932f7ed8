"""Partners over TLS: those whose certificate can be checked, and nobody else."""

import ssl

import pytest
import trustme

from chargers_sim.emsp import Emsp
from tests.e2e.conftest import new_site
from tests.support.cpo_process import CpoProcess, Refused

pytestmark = pytest.mark.asyncio(loop_scope="session")


def served_by(authority, name="127.0.0.1"):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_partners_certificate_is_checked_before_anything_is_said(tmp_path):
    """TRANS-1 and S25: an unknown authority, and a known one that speaks of another host."""
    known, unknown = trustme.CA(), trustme.CA()
    known.cert_pem.write_to_path(tmp_path / "ca.pem")
    trust = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    tls = {
        "good": served_by(known),
        "self-signed": served_by(unknown),
        "another": served_by(known, "192.0.2.1"),
    }
    async with CpoProcess(tmp_path, environment=trust) as cpo:
        refusals = {}
        for number, (name, context) in enumerate(tls.items()):
            async with Emsp(("NL", f"TL{number}"), versions=["2.2.1"], tls=context) as emsp:
                body = {
                    "name": name,
                    "versions_url": emsp.versions_url,
                    "token_a": emsp.token_a,
                }
                try:
                    partner = await cpo.api("POST", "/partners/connect", body)
                except Refused as refused:
                    refusals[name] = refused.status, refused.body["step"], refused.body["detail"]
                    assert emsp.journal.exchanges == []
                    continue
                site = await new_site(cpo)
                await emsp.wait_until(
                    lambda emsp=emsp, site=site: emsp.locations.get(site.location)
                )
                assert partner["status"] == "connected"
                await cpo.api("DELETE", f"/partners/{partner['id']}")

    assert set(refusals) == {"self-signed", "another"}
    for status, step, detail in refusals.values():
        assert (status, step) == (502, "versions")
        assert "certificate" in detail.lower()
