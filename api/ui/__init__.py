"""The page at ``/ui``: runs, agents and what waits, as HTML that needs no script.

Each page is made here whole. A script asks for the same page again when something has changed and
puts what differs in its place, so there is one form of everything, and none in the browser.
"""
