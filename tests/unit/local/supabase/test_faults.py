import pytest

from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Refusal


def test_faults_are_switched_together_or_not_at_all() -> None:
    faults = Faults()
    faults.change({"refuse": True, "slow_ms": 5})
    assert (faults.refuse, faults.slow_ms) == (True, 5)
    with pytest.raises(Refusal, match="422"):
        faults.change({"refuse": False, "slow_ms": True})
    assert faults.refuse
    with pytest.raises(Refusal, match="422"):
        faults.change(["refuse"])
