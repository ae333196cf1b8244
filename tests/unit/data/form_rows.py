"""One row of each published layout, written by hand."""

USER = {"role": "user", "content": "Why is the sky blue?"}


def said(text):
    return {"role": "assistant", "content": text}


HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Why?\n\nAssistant: So.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Why?\n\nAssistant: No.",
}
SHP = {
    "post_id": "qt3nxl",
    "domain": "askculinary_train",
    "upvote_ratio": 0.98,
    "history": "What is the best way to cook rice?",
    "c_root_id_A": "hkh25sc",
    "c_root_id_B": "hkh25lp",
    "created_at_utc_A": 1636822112,
    "created_at_utc_B": 1636822110,
    "score_A": 340,
    "score_B": 166,
    "human_ref_A": "Steam it.",
    "human_ref_B": "Boil it.",
    "labels": 1,
    "seconds_difference": 2.0,
    "score_ratio": 2.0482,
}
COMPARISON = {
    "info": {"id": "t3_34xale", "post": "My dog ran off.", "title": "Dog", "subreddit": "pets", "site": None},
    "summaries": [
        {"text": " Dog gone.", "policy": "sup2", "note": ""},
        {"text": " The dog ran off.", "policy": "ppo", "note": ""},
    ],
    "choice": 1,
    "worker": "w1",
    "batch": "batch3",
    "split": "train",
    "extra": {"confidence": 6},
}
AXES = {
    "info": {"id": "a1", "article": "A long story.", "title": None},
    "summary": {"text": "Short.", "policy": "ref", "axes": {"overall": 7, "accuracy": 6, "coverage": None}},
    "worker": "w2",
    "batch": "b",
    "split": "valid1",
}
HELPSTEER2 = {
    "prompt": "Hi\n<extra_id_1>Assistant\nHello!\n<extra_id_1>User\nWhy is the sky blue?",
    "response": "Air scatters blue light.",
    "helpfulness": 4,
    "correctness": 3,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 0,
}
PREFERENCE2 = {
    "split": "train",
    "prompt": "Why is the sky blue?",
    "response_1": "Air.",
    "response_2": "Because.",
    "preference_strength": -2,
    "preference_statement": "The first explains.",
    "all_preferences_unprocessed": [{"strength": -2}],
}
PREFERENCE3 = {
    "domain": "general",
    "language": "english",
    "context": [USER],
    "response1": "Air.",
    "response2": "Because air scatters.",
    "overall_preference": 3,
    "individual_preference": [{"score": 3, "reasoning": "…", "feedback1": "…", "feedback2": "…"}],
}
ULTRA = {
    "source": "sharegpt",
    "instruction": "Why is the sky blue?",
    "models": ["a", "b", "c"],
    "completions": [
        {
            "model": "a",
            "response": "Air scatters.",
            "overall_score": 8.5,
            "fine-grained_score": 4.5,
            "annotations": {"helpfulness": {"Rating": "5", "Rationale": "…"}, "honesty": {"Rating": "N/A"}},
        },
        {"model": "b", "response": "No idea.", "overall_score": 2.0, "annotations": {}},
        {"model": "c", "response": "Magic.", "overall_score": float("nan"), "annotations": {}},
        {"model": "d", "response": "Dunno.", "overall_score": 2.0, "annotations": {}},
    ],
    "correct_answers": ["None"],
}
ARENA = {
    "question_id": "58210e39b3fd",
    "model_a": "chatglm-6b",
    "model_b": "koala-13b",
    "winner": "tie (bothbad)",
    "judge": "arena_user_973",
    "conversation_a": [USER, said("Air.")],
    "conversation_b": [USER, said("No.")],
    "turn": 1,
    "language": "English",
    "tstamp": 1682351591.1322,
}
ALPACA = {
    "instruction": "Name a colour.",
    "input": "",
    "output_1": "Blue",
    "generator_1": "gpt4",
    "output_2": "Red, a colour.",
    "generator_2": "mine",
    "annotator": "alpaca_eval_gpt4",
    "preference": 1.9,
}
TREE = {
    "message_tree_id": "t1",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "m1",
        "text": "Why is the sky blue?",
        "role": "prompter",
        "replies": [
            {"message_id": "m2", "text": "No.", "role": "assistant", "rank": 1, "replies": [], "synthetic": False},
            {
                "message_id": "m3",
                "text": "Air.",
                "role": "assistant",
                "rank": 0,
                "synthetic": False,
                "user_id": "u1",
                "replies": [
                    {
                        "message_id": "m4",
                        "text": "And red?",
                        "role": "prompter",
                        "replies": [{"message_id": "m5", "text": "Dust.", "role": "assistant", "rank": None}],
                    }
                ],
            },
            {"message_id": "m6", "text": "Spam", "role": "assistant", "rank": 2, "deleted": True},
        ],
    },
}

KAGGLE = {
    "id": 30192,
    "model_a": "gpt-4",
    "model_b": "koala",
    "prompt": '["Why is the sky blue?"]',
    "response_a": '["Air."]',
    "response_b": '["No."]',
    "winner_model_a": 0,
    "winner_model_b": 1,
    "winner_tie": 0,
}
