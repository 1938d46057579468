"""What an export holds and whether it is sound, judged from content that was read.

Pure like all of core.

`verify` has the report; `audit`, `audit_rows`, `spelling`, `consistency` and `accounting` judge
lines and files for it. `holdings` and `compare` compare an export with the present listing.
`status` and `diagnosis` are the output of the commands of those names.
"""
