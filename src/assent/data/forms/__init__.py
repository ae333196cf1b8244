"""The file forms that people have feedback in, by name: :data:`FORMS`.

One file a family; :mod:`assent.data.forms.base` says what a form is, :mod:`assent.data.forms.reading` streams a file
of one.
"""

from assent.data.forms.arena import ARENA
from assent.data.forms.base import Form, Record, Vote
from assent.data.forms.helpsteer import HELPSTEER, HELPSTEER2_PREFERENCE, HELPSTEER3
from assent.data.forms.hub import RECORDS, TRL
from assent.data.forms.oasst import OASST
from assent.data.forms.pairs import ALPACA, HH_RLHF, SHP
from assent.data.forms.summarize import SUMMARIZE, SUMMARIZE_AXES
from assent.data.forms.ultrafeedback import ULTRAFEEDBACK, ULTRAFEEDBACK_BINARIZED

__all__ = ["FORMS", "Form", "Record", "Vote"]

FORMS: dict[str, Form] = {
    form.name: form
    for form in (  # a row is of the first whose columns it has: the particular before the general
        RECORDS,
        ARENA,
        SHP,
        SUMMARIZE,
        SUMMARIZE_AXES,
        HELPSTEER3,
        HELPSTEER2_PREFERENCE,
        HELPSTEER,
        ULTRAFEEDBACK,
        ULTRAFEEDBACK_BINARIZED,
        ALPACA,
        OASST,
        HH_RLHF,
        TRL,
    )
}
