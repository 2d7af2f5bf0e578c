"""The words and marks by which a response names an option: expressions only, no rule (those are in `choice`).

All run on `choice_text.readable` text (white space collapsed, Latin letters set apart from Chinese, Japanese and
Korean ones), so that none can backtrack far.
"""

from __future__ import annotations

import re
from typing import Final

CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
CONNECTIVE: Final = (
    r"\s(?:because|since|as|due|based|given|which|for|with|and|or|rather|instead|not|over|while|but|car|weil|da"
    r"|puisque|parce|porque|poiché|perché|omdat)\b"
)
BRACKETED: Final = r"[\[({<]\s?\"?([A-Za-z])\"?\s?[\])}>]|[\"']\(?([A-Za-z])[.)]?[\"']"
# A capital that something is computed from ("F = ma", "C++") is no letter of an option.
BARE: Final = (
    r"([B-HJ-Z])(?![A-Za-z0-9_\u00c0-\u04ff'’+#-]|\.\w|\s?[=≈<>×^+*→]|\s\d)"
    rf"|([A-Za-z])(?=\s?$|\n|\s?[.,;:!?)\]}}\"&/](?!\w)|{CONNECTIVE}|\s[{CJK}])"
)
LETTER: Final = re.compile(f"(?:{BRACKETED}|{BARE})")
JOINT: Final = (
    r"(?:\s?(?:[,(]?\s?(?:or|and)?,?\s?(?:maybe|perhaps|possibly|less likely,?|then|now|but)\s|,\s?(?:or"
    r"|and)?|/|&|\||;|~|、|\bor\b|\band\b|\bto\b|\bvs\.?|\bund\b|\boder\b|\bet\b|\bou\b|\by\b"
    r"|か(?!ら)|或者?|和|还是|與|与|または|とか|や|と)\s?|\s(?=\())(?:(?:option|choice|选项)\s)?"
)
MORE: Final = re.compile(rf"(?:{JOINT}|(?=[\[(]))(?:{BRACKETED}|{BARE})")
WHOLE: Final = re.compile(r"[\[(<{\"']*\s?([A-Za-z])\s?[\])>}\"']*\s?[.,:;!)]*[\"'\])]*")
REASON: Final = r"(?:because|since|as|due|given|for|it|the|this|that|which|there|he|she|they|based|i|we)\b"
LABEL: Final = re.compile(
    rf"(?:[\[(]\s?([A-Za-z])\s?[\])](?!\w)|([A-Z])(?:[.:)]|\s[-–—:](?=\s))(?!\w)|([A-Z])(?=\n|$)"
    rf"|([A-HJ-Z])(?=\s?[,;]\s{REASON}|\s(?:because|since|due to|as it|as the|as this)\b"
    r"|,?\s\(?(?:(?:and )?not|rather than|instead of|over)\b|\s?[–—→]"
    rf"|\s?[,;:.]\s?[{CJK}]|、))"
)
INLINE_LABEL: Final = re.compile(r"(?<!\S)(?:\(([A-Za-z])\)|([A-Z])[.:)](?=\s))")


# -------------------------------------- statements, of which each ends where the letter or the option's text must begin

_QUALITY: Final = (
    r"(?:(?:most|more)\s(?:likely|appropriate|suitable|accurate|fitting|probable|plausible|reasonable|relevant"
    r"|correct)|correct|right|best|closest|likeliest|final|selected|chosen|predicted|appropriate|suitable|matching"
    r"|accurate|proper|true|valid|only (?:correct|possible|valid|plausible)|ultimate)"
)
_NOUN: Final = r"(?:option|choice|one|letter|answer|response|match|alternative|solution|selection|candidate|label)"
KIND: Final = r"(?:\s(?:the )?(?:(?:answer |correct )?(?:option|choice|letter|number|alternative|answer))\b)?"
_ADVERB: Final = (
    r"(?:\s(?:most likely|likely|probably|clearly|therefore|thus|definitely|indeed|simply|obviously|certainly|then"
    r"|hence|just|actually|really|surely|evidently))?"
)
COPULA: Final = (
    r"(?:\s(?:here|to (?:this|the) question|for this question|above|below))?"
    r"(?:\s(?:would be|should be|must be|will be|has to be|have to be|can only be|seems to be"
    r"|appears to be|is|are|was|=))?" + _ADVERB
)
_MARK: Final = r"(?:\s?(?:[:=]|[-–—=]?>|→|⇒|[-–—](?=\s)))?"
_SAY: Final = (
    r"(?:choose|select|pick|go with|going with|answer with|answer|opt for|vote for|settle on|lean towards?|going for"
    r"|go for|choosing|selecting|picking|stick with|conclude|say|pick out)"
)
_ENDS: Final = (
    r"(?=[\[(\"']?[A-Z][\])\"']?\s?(?:[.!,;:)\n]|$|because|since|as\b|rather than|instead of"
    r"|(?:and )?\(?not\b|over\b|[-–—]\s))"
)
_CLOSING: Final = (
    r"(?:therefore|thus|hence|so|consequently|accordingly|in conclusion|conclusion|in summary|to sum up|overall"
    r"|finally|ultimately|in short|ergo|as a result|in the end|all in all|clearly|obviously|definitely"
    r"|surely|probably|certainly|(?:most )?likely|to conclude|to summari[sz]e|i think|i guess"
    r"|i believe|i suppose|i'd say|i'd guess|answering)"
)
_ENGLISH: Final = (
    rf"\b(?:answer|{_QUALITY} {_NOUN})\b\"?{KIND}{COPULA}{_MARK}{KIND}(?:\s?:)?\s?",
    rf"(?:^|\n|[.:;] )(?:my |the |your |our )?(?:selected |chosen |final |correct |best |predicted )?(?:option|choice"
    rf"|letter|response|solution|result|prediction|selection|selected|conclusion|pick|verdict|guess|ans|choose|select"
    rf"|pick)\b\.?"
    rf"{KIND}{COPULA}{_MARK}{KIND}(?:\s?:)?\s",
    rf"\b(?:i|i'd|i’d|i'm|i’m|i'll|i’ll|i am|i would|i will|we|we'd|we'll|let's|let us|i have to|i must|we should"
    rf"|i should|should|would|please|must)"
    rf"(?:\s(?:therefore|thus|definitely|probably))? {_SAY}\b(?: that)?(?: it's| it’s| it is)?{KIND}(?:\s?:)?\s",
    rf"\b(?:my|your|our) (?:choice|pick|answer|selection|guess|vote"
    rf"|final answer)\b{KIND}{COPULA}{_MARK}{KIND}(?:\s?:)?\s",
    rf"\b(?:it|that|this|which)(?:(?:\s(?:is|must be|should be|would be|has to be|will be|can only be"
    rf"|could only be|would have to be|was))|'s|’s)"
    rf"{_ADVERB}{KIND}\s{_ENDS}",
    rf"(?:^|\n)(?:[=-]+>|→|⇒)\s{_ENDS}",
    rf"(?:^|\n|[.;,!] |\band )(?:and )?{_CLOSING}\s?[,:]?(?:\s(?:it's|it is|that's|this is|i choose|we have|we get"
    rf"|choose|select|pick))?{KIND}\s?:?\s?(?<=[\s:]){_ENDS}",
    rf"(?:^|\n)(?:must|should|has to|would|will|could only) be{KIND}\s{_ENDS}",
    rf"\bno,? (?:wait,? )?(?:it's |it is )?{_ENDS}",
    rf"\bso (?:is|does){KIND}\s{_ENDS}",
    rf"\b(?:match(?:es)?|correspond(?:s|ing)? to|point(?:s|ing)? to|lead(?:s|ing)? to|support(?:s)?|indicat(?:es|ing)"
    rf"|suggests|equals|fits|means|gives|yields|namely|i\.e\.,?|that is,|selecting|choosing|choose|select|pick"
    rf"|selected|chosen|labell?ed(?: as)?|marked(?: as)?|conclude with|goes to|go(?:es|ing)? with|(?:described"
    rf"|indicated|represented|shown|denoted|depicted|given|marked|illustrated) (?:in|by|as|at)|to be){KIND}"
    rf"\s{_ENDS}",
)
_CHINESE: Final = (
    r"(?:(?:最终|正确|最佳|最合适的?|标准|本题|此题|这道题|该题|最好的?)的?)?(?:答案|选项|回答|答(?!え)|结论|選項)\]?\s?"
    r"(?:应该是|应当是|应该为|应为|應該是|就是|應為|是|为|為|选择|选|選)?\s?:?\s?(?:选项|選項|字母|选择|选)?\s?(?:是|为)?\s?",
    r"(?:应该|应当|应|我|故|所以|因此|本题|此题|则|可以|就|请)?\s?(?:选择|选出|选定|选|選擇|選)(?:的)?(?:是|了|为)?\s?:?\s?(?:选项|答案|項|项)?\s?:?\s?",
    r"(?:因此|所以|故|综上|综上所述|那么|显然|我(?:认为|觉得|想|猜)|正确的|对的|应该|应当|^|\n|[,.]\s?)\s?(?:应该|就|正确的|选项)?(?:是|为)\s?(?:选项)?\s?"
    r"(?=[\[(\"]?[A-Z][\])\"]?\s?(?:选项|项)?\s?(?:[.,!;\n]|$))",
)
_ASIAN: Final = (
    r"(?:正しい|正解の|最も適切な|最終的な)?(?:答え|回答|解答|正解|選択肢|最終回答|答(?!案))\s?(?:は|として|:)?\s?:?\s?(?:選択肢)?\s?",
    r"(?:정답|답변|답|선택지|선택|옳은 것|해답|최종 답)(?:은|는|이|:)?\s?:?\s?",
)
_EUROPEAN_NOUN: Final = (
    r"(?:(?:richtige|korrekte|endgültige|beste|finale|passende)?\s?(?:antwort|lösung|antwortmöglichkeit)|richtig"
    r"|korrekt|(?:bonne |meilleure )?(?:réponse|reponse|solution)(?: correcte| finale| exacte)?"
    r"|(?:mejor )?(?:respuesta|solución|alternativa)(?: correcta| final| adecuada)?|(?:la )?(?:opción"
    r"|alternativa) correcta|resposta(?: correta| certa| final)?|(?:a )?(?:alternativa|opção|letra) (?:correta|certa)"
    r"|risposta(?: corretta| giusta| esatta| finale)?|(?:juiste |beste )?antwoord|(?:правильный |верный )?ответ"
    r"|(?:poprawna )?odpowiedź|(?:doğru )?cevap|đáp án(?: đúng)?|câu trả lời(?: đúng)?|jawaban(?:nya)?(?: yang benar)?"
    r"|svaret|rätt svar|vastaus|odpověď|răspuns(?:ul)?(?: corect)?|الإجابة(?: الصحيحة)?|الجواب(?: الصحيح)?|उत्तर"
    r"|सही उत्तर|คำตอบ(?:ที่ถูกต้อง)?)"
)
_EUROPEAN_KIND: Final = (
    r"(?:\s(?:la |die |das |de |à |a |o |l')?(?:lettre|option|buchstabe|möglichkeit|letra|opción|opção|alternativa"
    r"|lettera|opzione|inciso|proposition|choix|variante|optie|вариант|opcja|seçenek|pilihan)|\s(?:la|le|el|il|de|die"
    r"|a|o)(?=\s))?"
)
_EUROPEAN: Final = (
    rf"(?<!\w){_EUROPEAN_NOUN}(?:\s(?:ist|lautet|wäre|est|es|sería|é|è|seria|is|jest|là|adalah|är|on|je|este|هي|هو|है"
    rf"|คือ)|-|\s?—)?(?:\s(?:donc|also|daher|entonces|quindi))?{_EUROPEAN_KIND}\s?[:=—]?{_EUROPEAN_KIND}\s?",
    rf"\b(?:ich (?:wähle|nehme|würde)|es|je (?:choisis|dirais|pense que c'est)|j'opte pour|(?:yo )?(?:elijo|escojo"
    rf"|selecciono)|(?:eu )?(?:escolho|seleciono)|(?:io )?scelgo|ik kies|wybieram|выбираю|я выбираю|c'est|(?:donc|also"
    rf"|entonces|portanto|quindi) ?,?){_EUROPEAN_KIND}\s{_ENDS}",
)
STATEMENT: Final = re.compile("|".join((*_ENGLISH, *_ASIAN, *_CHINESE, *_EUROPEAN)), re.IGNORECASE)

# What is said of something by an option's text only ("It is false").
TEXT_STATEMENT: Final = re.compile(
    r"\b(?:it|this|that|statement|claim|sentence|assertion|proposition|colou?r)(?:'s|’s|\sis)\s", re.IGNORECASE
)
# "The option that fits best is B", "the answer among these: B"; never past a word that turns it round.
LONG_STATEMENT: Final = re.compile(
    r"\b(?:answers?|options?|choices?|one|statement|description|colou?r|match)\b"
    r"(?:(?!\bnot\b|n't|wrong|incorrect|false|exclu|elimin|reject|except|least|worst|neither|rule|invalid"
    r"|never)[^.!?\n:]){0,60}?"
    rf"(?:\s(?:is|must be|would be|should be)|\s?:){KIND}\s{_ENDS}",
    re.IGNORECASE,
)
_BEFORE_RIGHT: Final = (
    r"(?:^|[.,;:!?\n]\s?|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer|[Ss]o|[Tt]herefore|[Hh]ence|[Tt]hus"
    r"|that|think|believe"
    r"|say|conclude|[Tt]hen|and|because|[Oo]nly|since|but|选项|選択肢|선택지|Réponse|Antwort|[Oo]pción|[Oo]pção)\s)"
)
_LETTER_OPTION: Final = r"[\[(\"']?([A-Z])[\])\"']?"
IS_RIGHT: Final = re.compile(
    _BEFORE_RIGHT + _LETTER_OPTION + r",?(?:"
    r"\s(?:is|seems(?: to be)?|must be|would be|appears to be|should be|has to be|will be)"
    r"(?:\s(?:clearly|therefore|definitely|most likely|likely|thus|indeed|obviously|probably|also"
    r"|equally))?\s(?:the |a |my |our )?"
    r"(?:only )?(?:(?:most |more )?(?:accurate|appropriate|suitable|fitting|reasonable|plausible|probable|relevant)"
    r"|correct|right|best|most likely|likely|closest|answer|one\b|true|choice|better|final|it\b)"
    r"|\s(?:best (?:describes|fits|matches|represents|answers|suits|explains|reflects|captures)|(?:looks|sounds"
    r"|appears|seems) (?:to be )?(?:right|correct|best|most)|is what\b|makes (?:the )?most sense|fits|matches"
    r"|describes|suits|works|answers|applies|represents|satisfies|holds|makes sense|corresponds|wins)\b"
    r"|\sit is(?=[.!\n]|$)"
    r"|\s?(?:选项|项|項)?(?:是|为)?(?:正确|对的|最佳|最合适|正確|答案|最符合|符合|合适)"
    r"|\s?(?:が|は)?(?:正解|正しい|適切|答え|最も)|\s?(?:です|だ|を選|と思)|\s?(?:번|입니다|이다|예요|이에요)|\s?(?:가|이)\s?(?:정답|맞|옳)"
    r"|\sist\s(?:die\s)?(?:richtig|korrekt|beste|zutreffend)|\sest\s(?:la\s)?(?:bonne|correct|juste|exact|meilleure)"
    r"|\ses\s(?:la\s)?(?:correcta|respuesta|opción correcta|mejor)|\sé\s(?:a\s)?(?:correta|resposta|certa)"
    r"|\sè\s(?:la\s)?(?:corretta|risposta|giusta|quella giusta)|\sis\s(?:het\s)?(?:juist|correct|goede))"
)
MENTION: Final = re.compile(
    rf"\b(?:[Oo]ption|[Cc]hoice|OPTION|[Oo]pción|[Oo]pção|[Aa]lternativ[ae]|[Ll]etra|[Oo]pzione|[Ll]ettre)"
    rf"\s?:?\s(?:{BRACKETED}|([A-Z])(?![A-Za-z0-9_\u00c0-\u04ff'’-]|\.\w)|{BARE})"
    rf"|(?<![A-Za-z])([A-Z])\s?(?:选项|选|项|選項|番|번)(?=\s?(?:[.,!\n]|$))"
    rf"|(?:选项|選項|選択肢|선택지|вариант|Вариант)\s?:?\s?(?:{BRACKETED}|{BARE})"
    # Touching a word or a formula it is a plural or an argument: person(s), v(t), N_2(g).
    r"|(?<![\w)\]}.])\(([A-Z])\)(?!\w)"
    r"|(?:^|\n|\b(?:is|be|choose|select|pick|with|answer)\s|[:,]\s)\(([a-z])\)(?=[.!,;]|\s|$)(?!\s?[+=→])",
)


# --------------------------------------------------------------------------------------------------- negation and doubt

NEGATED_STATEMENT: Final = re.compile(
    r"(?:(?:\bnot|n't|n’t|\bwrong|\bincorrect|\bworst|\bleast|\bneither|\bnever|\bno|\bfalse|\bnicht|\bkeine?|\bpas"
    r"|\bnon|\bnie|\bне)\s|(?:不是|不|没有|并非|错误的?|誤った)\s?)"
    r"(?:(?:the|a|an|correct|right|best|most likely|likely|die|la|le|one|really|necessarily|正确的?)\s)*$",
    re.IGNORECASE,
)
NAMED: Final = re.compile(r"(?:labell?ed|marked|indicated|shown|denoted|depicted)\b", re.IGNORECASE)
COMPARED: Final = re.compile(r"\b(?:than|(?:compared|relative) (?:to|with))\s(?:[\w'-]+\s){1,6}$", re.IGNORECASE)
"""What stands before a thing that is named only to compare another with: "closer than the point labeled B"."""
NEGATED_BEFORE: Final = re.compile(
    r"(?:\bnot|n't|n’t|\bneither|\bnor|\bexcept(?: for)?|\bunlike|\bexclud(?:e|es|ed|ing)|\beliminat(?:e|es|ed|ing)"
    r"|\brul(?:e|es|ed|ing) out|\binstead of|\bthan|\bwithout|\breject(?:s|ed|ing)?|\bdiscard(?:s|ed|ing)?|\bavoid"
    r"|\bdismiss(?:es|ed|ing)?|\banything but|\bbut not|\bnever|\bother than|\bapart from|\bcontradicts|\bnicht"
    r"|\bkeine?|\bpas|\bsauf|\bexcepto|\bnon|不是|不选|不選|不|非|除了|排除|而非|\bne)(?:\s(?:the|be|is|option|choice"
    r"|answer|letter|for|die|la|el|选项))*\s?$",
    re.IGNORECASE,
)
_WRONG: Final = (
    r"(?:wrong|incorrect|false|ruled out|eliminated|excluded|unlikely|impossible|irrelevant|inaccurate|out"
    r"|rejected|invalid"
    r"|a distractor|implausible|inconsistent|not|never|neither|untrue|mistaken|the wrong|the worst|less|too|also)\b"
)
NEGATED_AFTER: Final = re.compile(
    r"[\])\"']?,?\s?(?:is|are|was|does|do|did|can|could|would|should|seems|has|will|must|may|might)(?:n't"
    r"|n’t|not|\snot|\snever)\b"
    rf"|[\])\"']?\s?(?:is|are|was|seems|can be|must be|would be|should be|looks|appears|may be|might be)\s"
    rf"(?:clearly |also |definitely |therefore |thus |obviously |probably |simply |to be |just |most )?{_WRONG}"
    r"|[\])\"']?\s?(?:can|could|may|might|cannot|doesn|fails|contradicts|misses|lacks|ignores|doesn’t)\b"
    r"|\s?(?:选项|项|項)?(?:是)?\s?(?:不|错|錯|并不|并非|有误|可以排除|排除|被排除|没有)"
    r"|\s?(?:は|が|では|も)?(?:誤|間違|正しくな|違|不正解|ない|ではな|じゃな)|\s?(?:가|이|은|는)?\s?(?:아니|아닙|틀|오답)"
    r"|\s(?:ist|est|es|é|è|is)\s(?:nicht|falsch|pas|faux|fausse|incorrect|no\b|falsa|incorreta|errada"
    r"|sbagliata|non|niet|fout)"
    r"|\s(?:n'est|no es|não é|non è|nie jest|не )",
    re.IGNORECASE,
)
DOUBT: Final = re.compile(
    r"(?:\b(?:not|never|cannot|hard to|difficult to|impossible to|unable to|refuse to|decline to|fail to"
    r"|wrong to)|n't|n’t)\s"
    r"(?:(?:yet|really|be|entirely|completely|fully|quite|even|100%)\s)?"
    r"(?:think|believe|say|tell|know|determine|confirm|conclude|sure|certain|clear|see|decide|agree|mean|true|possible"
    r"|choose|select|pick|answer|go with|verify|claim|obvious|opt|give|provide|find|identify|state|assume|recommend"
    r"|necessarily)\b"
    r"|\b(?:if|whether|unless|suppose|supposing|assuming|assume|unsure|uncertain|unclear|doubt|doubtful|wonder|hardly"
    r"|although|though|despite|perhaps|maybe|possibly|possible (?:answer|option|choice)|some (?:people )?(?:would|will"
    r"|may|might)|someone|some people|might|may have|could have|tempt(?:ed|ing)|at first|initially|first glance"
    r"|first sight|wrongly|mistakenly|claimed|nicht|keine?|hypothetically)\b"
    r"|不知道|无法|不能|不确定|是否|如果|假如|难以|分からない|わから|모르|かどうか|もし",
    re.IGNORECASE,
)
"""What a clause says that leaves open what follows."""
ASKED: Final = re.compile(r"[^.!?\n]{0,160}\?")
CONDITION: Final = re.compile(r"\b(?:if|unless|suppose|assuming|had)\b[^.!?\n]{0,120}\b(?:were|had been|would)\b",
                              re.IGNORECASE)
CLAUSE_START: Final = re.compile(r"[.,;:!?\n]|\b(?:but|however|aber|mais|pero|yet|still|so|therefore|thus|hence)\b",
                                 re.IGNORECASE)
NEGATIVE_HEADING: Final = re.compile(
    r"\b(?:wrong|incorrect|not|except|eliminat\w*|rul(?:e|ed|ing) out|exclud\w*|neither|false|least"
    r"|worst)\b[^\n]{0,60}:$",
    re.IGNORECASE,
)
CLOSING_LINE: Final = re.compile(
    rf"(?:and )?{_CLOSING}\b|(?:综上|因此|所以|故|よって|したがって|따라서|donc|also|daher|por lo tanto|portanto)",
    re.IGNORECASE,
)


# ------------------------------------------------------------------------------------------ what a response closes with

WRAPPED: Final = re.compile(
    r"\\(?:boxed|fbox)\s?\{((?:[^{}]|\{[^{}]{0,200}\}){0,200})\}|<(?:final_?)?(?:answer|final|choice"
    r"|option)>(.{0,400}?)(?:</(?:final_?)?(?:answer|final|choice|option)>|$)"
    r"|<\|begin_of_box\|>(.{0,400}?)(?:<\|end_of_box\|>|$)",
    re.IGNORECASE | re.DOTALL,
)
CLOSER: Final = re.compile(
    WRAPPED.pattern
    + r"|\bfinal (?:answer|choice)\b(?:\s(?:is|would be|should be|must be)\b)?\s?[:=]?\s?([^\n]{0,400}(?<!\n))"
    + r"|(?:^|(?<=\n))(?:so |therefore,? |thus,? |hence,? |and )?(?:the |my |your )?(?:correct |best |right )?"
    + r"(?:answer|ans|antwort|réponse|respuesta|resposta|risposta|答案|回答|答え|정답|答)\s?[:=]\s?([^\n]{0,400})",
    re.IGNORECASE | re.DOTALL,
)
BETWEEN: Final = re.compile(r"[\s.,;/&|]*(?:or|and|oder|ou|或|和)?[\s.,;/&|]*", re.IGNORECASE)
