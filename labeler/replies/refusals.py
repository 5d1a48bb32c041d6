"""Refusals in plain text, in many languages, by their first words. Pure: a reply of the asked form is none."""

from __future__ import annotations

import re

_CANNOT = (
    r"(?:cannot|can['’]?t|can\ not|am\ unable|['’]?m\ unable|am\ not\ able|['’]?m\ not\ able|"
    r"won['’]?t|will\ not|must\ decline)\b"
)
# Words that are also what a feature may fire on are a refusal only before a comma, or before what is not done.
_REFUSAL = re.compile(
    rf"""^\W*+(?:
    i['’]?m\ (?:really\ |very\ |so\ )?sorry | i\ am\ (?:really\ |very\ |so\ )?sorry | sorry\b[,.!] | i\ apologi[sz]e |
    (?:my\ )?apologies\b | (?:unfortunately,?\ )?(?:i|we)\ ?{_CANNOT} |
    i['’]?m\ afraid\ (?:that\ )?i\ ?{_CANNOT} | i\ am\ afraid\ (?:that\ )?i\ ?{_CANNOT} |
    i\ (?:do\ not|don['’]?t|would\ not|wouldn['’]?t)\ (?:feel|think\ i\ can|be\ able) |
    i\ refuse\b(?=[.!]|\ to\b) | this\ (?:request|content|text)\ (?:violates|goes\ against|is\ against) |
    as\ an\ (?:ai|artificial\ intelligence)\b | as\ a\ (?:large\ )?language\ model\b |
    es\ tut\ mir\ (?:sehr\ )?leid | tut\ mir\ leid | entschuldigung, |
    ich\ kann\ (?:(?:\w+\ ){{0,4}}leider\ )?(?:nicht|keine) |
    leider\ kann\ ich | het\ spijt\ me | ik\ kan\ (?:helaas\ )?(?:niet|geen)\b | helaas\ kan\ ik |
    lo\ siento | lamento[,.]|lamento\ (?:no|que)\b | je\ regrette[,.] | disculpa |
    no\ puedo\ (?:ayudar|hacer|proporcionar|etiquetar) | je\ suis\ désolée? | désolée?[,\ ] |
    je\ ne\ peux\ pas | mi\ dispiace | non\ posso\ (?:aiutar|fornir) | desculpe | sinto\ muito | não\ posso |
    beklager[,.] | undskyld[,.] | jeg\ kan\ (?:desværre\ |dessverre\ )?ikke | förlåt[,.] | tyvärr\b | jag\ kan\ inte |
    anteeksi[,.] | valitettavasti\b | sajnálom | sajnos\b | îmi\ pare\ rău | przepraszam[,.] |
    przykro\ mi[,.] | samahani[,.] | niestety,?\ nie |
    nie\ mogę | omlouvám\ se | bohužel\b | üzgünüm | maalesef\b | maaf[,.] | xin\ lỗi | rất\ tiếc |
    извините | простите | к\ сожалению,\ я\ не | я\ не\ могу | вибачте | на\ жаль, | я\ не\ можу |
    συγγνώμη | λυπάμαι | δεν\ μπορώ | מצטער | אני\ לא\ יכול | عذر | آسف | لا\ أستطيع | متاسف | متأسف |
    क्षमा\ करें |
    (?:मैं|मै)\ .{{0,40}}नहीं\ कर\ सकत | माफ़\ कीजिए | मुझे\ खेद | দুঃখিত | மன்னிக்கவும் | ขอโทษ | ขออภัย |
    抱歉 | 很抱歉 | 很遗憾 | 很遺憾 | 无法(?:回答|提供|完成) | 無法(?:回答|提供|完成) |
    对不起 | 對不起 | 我无法 | 我無法 | 我不能 | 作为一个?(?:ai|人工智能|语言模型) |
    申し訳 | すみません | ごめんなさい | お手伝いできません | お答えできません |
    도와드릴\ 수\ 없 | 답변할\ 수\ 없 | 죄송 | 미안
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Whether a plain text begins as a refusal."""
    return bool(_REFUSAL.match(text))
