import pytest

from crossfade.local.supabase.admin import change
from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.quotas import Quotas


def test_faults_are_switched_together_or_not_at_all() -> None:
    faults = Faults()
    change(faults, {"refuse": True, "slow_ms": 5})
    assert (faults.refuse, faults.slow_ms) == (True, 5)
    with pytest.raises(Refusal, match="422"):
        change(faults, {"refuse": False, "slow_ms": True})
    assert faults.refuse
    with pytest.raises(Refusal, match="422"):
        change(faults, ["refuse"])


def test_quotas_are_no_negative_numbers() -> None:
    quotas = Quotas()
    change(quotas, {"max_events_per_second": 3, "suspend": True})
    assert (quotas.max_events_per_second, quotas.suspend) == (3, True)
    for wrong in ({"max_events_per_second": -1}, {"max_joins_per_second": True}, {"x": 1}):
        with pytest.raises(Refusal, match="422"):
            change(quotas, wrong)
