"""The demo: which language is each message of a support inbox written in?"""
