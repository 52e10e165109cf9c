SELECT p.行业, COUNT(*) AS 户月数, SUM(p.用电量) AS 用电总量, AVG(p.用电量) AS 平均用电量
FROM 银行 AS b JOIN 供电 AS p ON b.统一社会信用代码 = p.统一社会信用代码
WHERE b.信用等级 IN ('甲', '乙') AND p.镇 IN ('东镇', '南镇')
GROUP BY p.行业
